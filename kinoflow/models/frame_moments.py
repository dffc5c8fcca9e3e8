"""Frame moments: what an image network sees on average, and how much that changes."""

import keras
from keras import layers

from kinoflow.models.layers.backbones import BATCH_MOMENTUM, frame_encoder, pretrained
from kinoflow.models.layers.frames import (
    FoldTime,
    UnfoldTime,
    clip_frames,
    frame_mask,
    probabilities,
)
from kinoflow.models.layers.pooling import MomentsOverTime
from kinoflow.video.spec import ClipSpec


def frame_moments(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 64),
    pools: tuple[int, ...] = (2, 2, 2, 2),
    backbone: str | None = None,
    weights: str | None = None,
    trainable: bool = False,
    dropout: float = 0.5,
) -> keras.Model:
    """Mean and deviation over time of an image network's features, and a linear head.

    The order of frames plays no part, but that they differ does. Mean and deviation as a
    summary of a sequence: Snyder et al., "X-Vectors: Robust DNN Embeddings for Speaker
    Recognition" (ICASSP 2018). `backbone`, `weights` and `trainable` as in frame voting.

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """
    clip, x = clip_frames(stored, seen)
    x = FoldTime()(x)
    if backbone is None:
        x = frame_encoder(x, filters, pools, 0.0)
    else:
        _, x = pretrained(x, backbone, weights, trainable=trainable)
    x = UnfoldTime(seen.frames)(layers.GlobalAveragePooling2D()(x))
    x = MomentsOverTime()(x, mask=frame_mask(clip, stored))
    # deviations are small beside means, and networks differ in scale by orders of magnitude
    x = layers.BatchNormalization(momentum=BATCH_MOMENTUM, center=False, scale=False)(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip, probabilities(x, classes), name="frame_moments")
