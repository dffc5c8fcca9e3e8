"""TimeSformer: attention divided into time and space."""

import keras
from keras import layers

from kinoflow.models.layers.attention import attend, feed_forward, tubelets
from kinoflow.models.layers.frames import Differences, clip_frames, frame_mask, probabilities
from kinoflow.models.layers.pooling import MeanOverTime
from kinoflow.video.spec import ClipSpec


def timesformer(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    patch: int = 8,
    width: int = 96,
    depth: int = 4,
    heads: int = 4,
    dropout: float = 0.1,
    differences: Differences = "only",
) -> keras.Model:
    """Each block attends along time, patch by patch, then along space, frame by frame.

    Bertasius et al., "Is Space-Time Attention All You Need for Video Understanding?"
    (ICML 2021), with the mean over all patches in the place of a class token. `patch` is in
    pixels.

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """
    clip, x = clip_frames(stored, seen, differences=differences)
    mask = frame_mask(clip, stored)
    x = tubelets(x, width, 1, patch)
    for _ in range(depth):
        x = attend(x, 1, heads, dropout, mask)
        x = attend(x, 2, heads, dropout)
        x = feed_forward(x, dropout)
    x = layers.LayerNormalization()(x)

    # === Over space, then over time: (B, T, S, D) to (B, D) ===
    x = layers.AveragePooling2D((1, x.shape[2]))(x)
    x = layers.Reshape((seen.frames, width))(x)
    x = MeanOverTime()(x, mask=mask)
    return keras.Model(clip, probabilities(layers.Dropout(dropout)(x), classes), name="timesformer")
