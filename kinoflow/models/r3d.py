"""R3D: residual convolutions in space and time at once."""

import keras

from kinoflow.models.layers.frames import Differences, clip_frames, pooled_probabilities
from kinoflow.models.layers.residual import convolved, video_resnet
from kinoflow.video.spec import ClipSpec


def r3d(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 128),
    differences: Differences = "only",
    dropout: float = 0.3,
) -> keras.Model:
    """A residual network with full 3x3x3 convolutions: what R(2+1)D factorises.

    Hara et al., "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?"
    (CVPR 2018).

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """
    clip, x = clip_frames(stored, seen, differences=differences)
    x = video_resnet(x, filters, _stem, _block)
    return keras.Model(clip, pooled_probabilities(x, classes, dropout), name="r3d")


def _stem(x, filters: int):
    return convolved(x, filters, 3, (1, 2, 2))


def _block(x, filters: int, stride: int):
    return convolved(convolved(x, filters, 3, stride), filters, 3, activate=False)
