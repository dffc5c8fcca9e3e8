"""R(2+1)D: residual convolutions, factorised into space and time."""

import keras

from kinoflow.models.parts.frames import Differences, clip_frames, pooled_probabilities
from kinoflow.models.parts.residual import convolved, video_resnet
from kinoflow.video import ClipSpec


def r2plus1d(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 128),
    differences: Differences = "only",
    dropout: float = 0.3,
) -> keras.Model:
    """One residual (2+1)D block per width, each but the first halving space and time.

    Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition"
    (CVPR 2018). Both convolutions of a pair have the block's width; the paper widens what lies
    between them until they have as many weights as a full one.

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """
    clip, x = clip_frames(stored, seen, differences=differences)
    x = video_resnet(x, filters, _stem, _block)
    return keras.Model(clip, pooled_probabilities(x, classes, dropout), name="r2plus1d")


def _stem(x, filters: int):
    # space is halved at once, since most of the cost lies in the first layers
    return _conv2plus1d(x, filters, spatial_stride=2)


def _block(x, filters: int, stride: int):
    x = _conv2plus1d(x, filters, spatial_stride=stride, temporal_stride=stride)
    return _conv2plus1d(x, filters, activate=False)


def _conv2plus1d(
    x, filters: int, *, spatial_stride: int = 1, temporal_stride: int = 1, activate: bool = True
):
    """A 1x3x3 convolution in space, then a 3x1x1 convolution in time."""
    x = convolved(x, filters, (1, 3, 3), (1, spatial_stride, spatial_stride))
    return convolved(x, filters, (3, 1, 1), (temporal_stride, 1, 1), activate=activate)
