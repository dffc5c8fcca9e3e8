"""Convolutions with normalisation, and residual networks made of them, for images and clips."""

from collections.abc import Callable
from typing import Any

from keras import layers

from kinoflow.models.layers.factorised import FactorisedConv3D
from kinoflow.models.layers.normalisation import group_normalised

# (x, filters, stride) to the residual of a block: stride 2 halves height, width and, of clips, time
Block = Callable[[Any, int, int], Any]


def convolved(x, filters: int, kernel, strides=1, *, activate: bool = True):
    """Convolution with "same" padding, group normalisation and, with `activate`, ReLU.

    Args:
        x: images (N, H, W, C) or clips (B, T, H, W, C).
        filters: channels of the result.
        kernel: its size in pixels and frames: one number, or one for each axis.
        strides: one number, or one for each axis.
        activate: whether ReLU follows.
    """
    images = len(x.shape) == 4
    if images and kernel == 1 and strides != 1:
        # not by the convolution's own stride: see FactorisedConv3D
        x, strides = layers.AveragePooling2D(1, strides)(x), 1
    kind = layers.Conv2D if images else FactorisedConv3D
    x = kind(filters, kernel, strides=strides, padding="same", use_bias=False)(x)
    x = group_normalised(x)
    return layers.ReLU()(x) if activate else x


def residual_stages(x, filters: tuple[int, ...], block: Block):
    """A residual block for each number of filters: (..., C) to (..., filters[-1]).

    Each block but the first halves height, width and, of clips, time. He et al., "Deep
    Residual Learning for Image Recognition" (CVPR 2016).
    """
    for stage, width in enumerate(filters):
        stride = 1 if stage == 0 else 2
        shortcut, residual = x, block(x, width, stride)
        if shortcut.shape != residual.shape:
            shortcut = convolved(shortcut, width, 1, stride, activate=False)
        x = layers.ReLU()(layers.Add()([residual, shortcut]))
    return x


def basic_block(x, filters: int, stride: int):
    """Two convolutions of 3x3 on images, of 3x3x3 on clips."""
    return convolved(convolved(x, filters, 3, stride), filters, 3, activate=False)
