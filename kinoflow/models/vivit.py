"""ViViT: a transformer over space, then one over time."""

import keras
from keras import layers

from kinoflow.models.layers.attention import Position, attend, feed_forward, tubelets
from kinoflow.models.layers.frames import Differences, clip_frames, frame_mask, probabilities
from kinoflow.models.layers.pooling import MeanOverTime
from kinoflow.video.spec import ClipSpec


def vivit(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    tubelet: int = 2,
    patch: int = 8,
    width: int = 96,
    depth: int = 3,
    temporal_depth: int = 2,
    heads: int = 4,
    dropout: float = 0.1,
    differences: Differences = "only",
) -> keras.Model:
    """The factorised encoder: tubelets attend to those of the same time, then times to times.

    Arnab et al., "ViViT: A Video Vision Transformer" (ICCV 2021), model 2, with means in the
    place of class tokens. A tubelet is `tubelet` frames of `patch` x `patch` pixels.

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """
    clip, x = clip_frames(stored, seen, differences=differences)
    x = tubelets(x, width, tubelet, patch)
    for _ in range(depth):
        x = feed_forward(attend(x, 2, heads, dropout), dropout)

    # === A vector per time: (B, T', S, D) to (B, T', 1, D) to (B, D) ===
    mask = frame_mask(clip, stored, span=tubelet)
    x = layers.AveragePooling2D((1, x.shape[2]))(layers.LayerNormalization()(x))
    x = Position(axis=1)(x)
    for _ in range(temporal_depth):
        x = feed_forward(attend(x, 1, heads, dropout, mask), dropout)
    x = layers.Reshape((-1, width))(layers.LayerNormalization()(x))
    x = MeanOverTime()(x, mask=mask)
    return keras.Model(clip, probabilities(layers.Dropout(dropout)(x), classes), name="vivit")
