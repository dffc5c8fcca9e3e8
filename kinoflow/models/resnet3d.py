"""Residual networks of space and time: R3D, R(2+1)D and CSN, which differ in how they convolve."""

import functools
from typing import Literal

import keras
from keras import layers

from kinoflow.models.layers.clip import ClipInput, Inputs
from kinoflow.models.layers.convolution import basic_block, convolved, residual_stages
from kinoflow.models.layers.depthwise import DepthwiseConv3D
from kinoflow.models.layers.heads import pooled_probabilities
from kinoflow.models.layers.normalisation import group_normalised


def r3d(
    clip: ClipInput,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 128),
    inputs: Inputs = "differences",
    dropout: float = 0.3,
) -> keras.Model:
    """Residual blocks of full 3x3x3 convolutions: what R(2+1)D factorises.

    Hara et al., "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?"
    (CVPR 2018).

    Args:
        filters: channels of each residual block; each but the first halves space and time. One
            block each and a quarter of the paper's widths, for small data.
        inputs: what the network sees of each frame: its colours (`frames`), their change since
            the frame before (`differences`), or `both` stacked. Change alone, since with it
            R3D does best on few recordings (benchmarks/accuracy.md).
        dropout: fraction of the pooled features set to zero in training; for small data.
    """
    x = residual_stages(_stem(clip.pixels(inputs), filters[0]), filters, basic_block)
    return keras.Model(clip.input, pooled_probabilities(x, classes, dropout), name="r3d")


def r2plus1d(
    clip: ClipInput,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 128),
    inputs: Inputs = "differences",
    widened: bool = False,
    dropout: float = 0.3,
) -> keras.Model:
    """Residual blocks whose convolutions are factorised into space and time.

    Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition"
    (CVPR 2018).

    Args:
        filters: channels of each residual block; each but the first halves space and time. One
            block each and a quarter of the paper's widths, for small data.
        inputs: what the network sees of each frame: its colours (`frames`), their change since
            the frame before (`differences`), or `both` stacked. Change alone, since with it
            R3D does best on few recordings (benchmarks/accuracy.md).
        widened: whether each pair of convolutions has as many weights as the 3x3x3 convolution
            that it replaces, as in the paper, by more channels between the two. Off: the network
            then has half of R3D's weights.
        dropout: fraction of the pooled features set to zero in training; for small data.
    """
    conv = functools.partial(_conv2plus1d, widened=widened)

    def block(x, filters: int, stride: int):
        x = conv(x, filters, spatial_stride=stride, temporal_stride=stride)
        return conv(x, filters, activate=False)

    # the stem halves space at once, since most of the cost lies in the first layers
    x = conv(clip.pixels(inputs), filters[0], spatial_stride=2)
    x = residual_stages(x, filters, block)
    return keras.Model(clip.input, pooled_probabilities(x, classes, dropout), name="r2plus1d")


def csn(
    clip: ClipInput,
    classes: int,
    *,
    filters: tuple[int, ...] = (32, 64, 128, 256),
    variant: Literal["ip", "ir"] = "ip",
    inputs: Inputs = "differences",
    dropout: float = 0.3,
) -> keras.Model:
    """Channel-separated bottlenecks: a convolution mixes channels or positions, never both.

    Tran et al., "Video Classification with Channel-Separated Convolutional Networks"
    (ICCV 2019). A bottleneck is 1x1x1, depthwise 3x3x3 and 1x1x1, with half the channels inside.

    Args:
        filters: channels of each bottleneck; each but the first halves space and time. Twice
            R3D's, since a depthwise convolution has few weights.
        variant: `ip`, interaction-preserved, has one more 1x1x1 convolution before the depthwise
            one, so that channels interact as much as in a full 3x3x3 convolution; `ir`,
            interaction-reduced, does without. `ip`, the better one in the paper.
        inputs: what the network sees of each frame: its colours (`frames`), their change since
            the frame before (`differences`), or `both` stacked. Change alone, since with it
            R3D does best on few recordings (benchmarks/accuracy.md).
        dropout: fraction of the pooled features set to zero in training; for small data.

    Raises ValueError for an unknown variant.
    """
    if variant not in {"ip", "ir"}:
        raise ValueError(f"variant must be ip or ir, got {variant!r}")

    def block(x, filters: int, stride: int):
        x = convolved(x, filters // 2, 1)
        if variant == "ip":
            x = convolved(x, filters // 2, 1, activate=False)
        x = DepthwiseConv3D(strides=(stride, stride, stride))(x)
        x = layers.ReLU()(group_normalised(x))
        return convolved(x, filters, 1, activate=False)

    x = residual_stages(_stem(clip.pixels(inputs), filters[0]), filters, block)
    return keras.Model(clip.input, pooled_probabilities(x, classes, dropout), name="csn")


def _stem(x, filters: int):
    """A 3x3x3 convolution that halves space: most of the cost lies in the first layers."""
    return convolved(x, filters, 3, (1, 2, 2))


def _conv2plus1d(
    x,
    filters: int,
    *,
    widened: bool,
    spatial_stride: int = 1,
    temporal_stride: int = 1,
    activate: bool = True,
):
    """A 1x3x3 convolution in space, then a 3x1x1 convolution in time."""
    between = _widened(x.shape[-1], filters) if widened else filters
    x = convolved(x, between, (1, 3, 3), (1, spatial_stride, spatial_stride))
    return convolved(x, filters, (3, 1, 1), (temporal_stride, 1, 1), activate=activate)


def _widened(incoming: int, filters: int) -> int:
    """Channels between 1x3x3 and 3x1x1 that give both as many weights as 3x3x3 (section 3.5)."""
    return 27 * incoming * filters // (9 * incoming + 3 * filters)
