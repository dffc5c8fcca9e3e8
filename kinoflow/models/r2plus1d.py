"""R(2+1)D: residual convolutions, factorised into space and time."""

import keras
from keras import layers

from kinoflow.models.layers import Pixels, WithDifferences, clip_input, probabilities
from kinoflow.video import ClipSpec


def r2plus1d(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 128),
    differences: bool = True,
    dropout: float = 0.3,
) -> keras.Model:
    """One residual (2+1)D block per width, each but the first halving space and time.

    Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition"
    (CVPR 2018). Group normalisation (Wu and He, ECCV 2018) takes the place of batch
    normalisation, whose statistics are poor in small batches. With `differences`, each frame's
    change since the one before is a further input.

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """
    clip = clip_input(seen.frames, stored.height, stored.width)
    x = Pixels(seen.height, seen.width)(clip)
    if differences:
        x = WithDifferences()(x)

    # === Stem: space is halved at once, since most of the cost lies in the first layers ===
    x = _conv2plus1d(x, filters[0], spatial_stride=2)

    # === Stages ===
    for stage, width in enumerate(filters):
        stride = 1 if stage == 0 else 2
        x = _residual(x, width, stride)

    # === Head ===
    x = layers.GlobalAveragePooling3D()(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip, probabilities(x, classes), name="r2plus1d")


def _residual(x, filters: int, stride: int):
    shortcut = x
    x = _conv2plus1d(x, filters, spatial_stride=stride, temporal_stride=stride)
    x = _conv2plus1d(x, filters, activate=False)
    if shortcut.shape != x.shape:
        shortcut = layers.Conv3D(filters, 1, strides=stride, use_bias=False)(shortcut)
        shortcut = _normalised(shortcut)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _conv2plus1d(
    x, filters: int, *, spatial_stride: int = 1, temporal_stride: int = 1, activate: bool = True
):
    """A 1x3x3 convolution in space, then a 3x1x1 convolution in time."""
    space, time = (1, spatial_stride, spatial_stride), (temporal_stride, 1, 1)
    x = layers.Conv3D(filters, (1, 3, 3), strides=space, padding="same", use_bias=False)(x)
    x = layers.ReLU()(_normalised(x))
    x = layers.Conv3D(filters, (3, 1, 1), strides=time, padding="same", use_bias=False)(x)
    x = _normalised(x)
    return layers.ReLU()(x) if activate else x


def _normalised(x):
    return layers.GroupNormalization(groups=min(8, x.shape[-1]))(x)
