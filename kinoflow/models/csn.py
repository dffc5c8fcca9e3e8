"""CSN: channels either interact or are convolved in space and time, never both at once."""

from typing import Literal

import keras
from keras import layers

from kinoflow.models.layers.frames import Differences, clip_frames, pooled_probabilities
from kinoflow.models.layers.residual import convolved, normalised, video_resnet
from kinoflow.models.layers.separable import DepthwiseConv3D
from kinoflow.video.spec import ClipSpec


def csn(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (32, 64, 128, 256),
    variant: Literal["ip", "ir"] = "ip",
    differences: Differences = "only",
    dropout: float = 0.3,
) -> keras.Model:
    """Channel-separated bottlenecks: 1x1x1, depthwise 3x3x3, 1x1x1, at half the width inside.

    Tran et al., "Video Classification with Channel-Separated Convolutional Networks"
    (ICCV 2019): `ip` preserves the interaction of channels that a full 3x3x3 convolution has,
    by one more 1x1x1 before the depthwise one; `ir`, interaction-reduced, goes without.

    uint8 (B, T, H, W, 3) to float32 (B, classes). Raises ValueError for another variant.
    """
    if variant not in {"ip", "ir"}:
        raise ValueError(f"variant must be ip or ir, got {variant!r}")

    def block(x, filters: int, stride: int):
        x = convolved(x, filters // 2, 1)
        if variant == "ip":
            x = convolved(x, filters // 2, 1, activate=False)
        x = DepthwiseConv3D(strides=(stride, stride, stride))(x)
        x = layers.ReLU()(normalised(x))
        return convolved(x, filters, 1, activate=False)

    clip, x = clip_frames(stored, seen, differences=differences)
    x = video_resnet(x, filters, _stem, block)
    return keras.Model(clip, pooled_probabilities(x, classes, dropout), name="csn")


def _stem(x, filters: int):
    return convolved(x, filters, 3, (1, 2, 2))
