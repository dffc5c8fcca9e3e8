"""Residual networks of space and time that differ only in how they convolve."""

from collections.abc import Callable
from typing import Any

from keras import layers

# (x, filters, stride) to the block's residual: stride 2 halves space and time
Block = Callable[[Any, int, int], Any]


def video_resnet(x, filters: tuple[int, ...], stem: Callable[[Any, int], Any], block: Block):
    """A stem, then one residual block per width, each but the first halving space and time.

    (B, T, H, W, C) to (B, T', H', W', filters[-1]). After Tran et al., "A Closer Look at
    Spatiotemporal Convolutions for Action Recognition" (CVPR 2018).
    """
    x = stem(x, filters[0])
    for stage, width in enumerate(filters):
        stride = 1 if stage == 0 else 2
        shortcut, residual = x, block(x, width, stride)
        if shortcut.shape != residual.shape:
            shortcut = layers.Conv3D(width, 1, strides=stride, use_bias=False)(shortcut)
            shortcut = normalised(shortcut)
        x = layers.ReLU()(layers.Add()([residual, shortcut]))
    return x


def convolved(x, filters: int, kernel, strides=1, *, activate: bool = True):
    """A 3D convolution, normalised and, unless told not to, rectified."""
    x = layers.Conv3D(filters, kernel, strides=strides, padding="same", use_bias=False)(x)
    x = normalised(x)
    return layers.ReLU()(x) if activate else x


def normalised(x):
    """Group normalisation (Wu and He, ECCV 2018), in the place of batch normalisation.

    The statistics of a batch are poor where batches are small, as they are with clips.
    """
    channels = x.shape[-1]
    groups = next(groups for groups in range(min(8, channels), 0, -1) if channels % groups == 0)
    return layers.GroupNormalization(groups=groups)(x)
