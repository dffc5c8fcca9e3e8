"""LRCN: a CNN on every frame, an LSTM over what it sees."""

import keras
from keras import layers

from kinoflow.models.layers import (
    FoldTime,
    Pixels,
    UnfoldTime,
    clip_input,
    frame_encoder,
    probabilities,
)
from kinoflow.video import ClipSpec


def lrcn(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 64),
    pools: tuple[int, ...] = (4, 4, 2, 2),
    units: int = 32,
    dropout: float = 0.25,
) -> keras.Model:
    """Long-term recurrent convolutional network, in the small form common on UCF-50.

    Donahue et al., "Long-term Recurrent Convolutional Networks for Visual Recognition and
    Description" (CVPR 2015).

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """
    clip = clip_input(seen.frames, stored.height, stored.width)
    x = Pixels(seen.height, seen.width)(clip)

    # === Each frame: (B * T, H, W, 3) to (B * T, D) ===
    x = FoldTime()(x)
    x = frame_encoder(x, filters, pools, dropout)
    x = layers.Flatten()(x)

    # === Over time: (B, T, D) to (B, units) ===
    x = UnfoldTime(seen.frames)(x)
    x = layers.LSTM(units)(x)
    return keras.Model(clip, probabilities(x, classes), name="lrcn")
