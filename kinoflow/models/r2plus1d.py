"""R(2+1)D: residual convolutions, factorised into space and time."""

import functools

import keras

from kinoflow.models.layers.frames import Differences, clip_frames, pooled_probabilities
from kinoflow.models.layers.residual import convolved, video_resnet
from kinoflow.video.spec import ClipSpec


def r2plus1d(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 128),
    differences: Differences = "only",
    widened: bool = False,
    dropout: float = 0.3,
) -> keras.Model:
    """One residual (2+1)D block per width, each but the first halving space and time.

    Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition"
    (CVPR 2018). As in the paper, `widened` gives each pair of convolutions as many weights as
    the full one in its place has, by the number of channels between the two. Without it they
    are as many as come out, and the network has half of R3D's weights.

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """
    conv = functools.partial(_conv2plus1d, widened=widened)

    def stem(x, filters: int):
        # space is halved at once, since most of the cost lies in the first layers
        return conv(x, filters, spatial_stride=2)

    def block(x, filters: int, stride: int):
        x = conv(x, filters, spatial_stride=stride, temporal_stride=stride)
        return conv(x, filters, activate=False)

    clip, x = clip_frames(stored, seen, differences=differences)
    x = video_resnet(x, filters, stem, block)
    return keras.Model(clip, pooled_probabilities(x, classes, dropout), name="r2plus1d")


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
    between = _between(x.shape[-1], filters) if widened else filters
    x = convolved(x, between, (1, 3, 3), (1, spatial_stride, spatial_stride))
    return convolved(x, filters, (3, 1, 1), (temporal_stride, 1, 1), activate=activate)


def _between(coming: int, filters: int) -> int:
    """Channels with which 1x3x3 and 3x1x1 have as many weights as 3x3x3 (section 3.5)."""
    return 27 * coming * filters // (9 * coming + 3 * filters)
