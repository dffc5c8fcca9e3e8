"""Frame voting: an image classifier on every frame, and the mean of its answers."""

import keras
from keras import layers

from kinoflow.models.layers import FoldTime, Pixels, UnfoldTime, clip_input, frame_encoder
from kinoflow.video import ClipSpec


def frame_voting(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 64),
    pools: tuple[int, ...] = (2, 2, 2, 2),
    dropout: float = 0.25,
) -> keras.Model:
    """Average the class probabilities of single frames; the order of frames plays no part.

    Single-frame baseline and late fusion by averaging as in Karpathy et al., "Large-scale Video
    Classification with Convolutional Neural Networks" (CVPR 2014).

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """
    clip = clip_input(seen.frames, stored.height, stored.width)
    x = Pixels(seen.height, seen.width)(clip)

    # === Each frame: (B * T, H, W, 3) to (B * T, classes) ===
    x = FoldTime()(x)
    x = frame_encoder(x, filters, pools, dropout)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    x = layers.Dense(classes, activation="softmax", dtype="float32")(x)

    # === The vote ===
    x = UnfoldTime(seen.frames)(x)
    x = layers.GlobalAveragePooling1D(dtype="float32", name="probabilities")(x)
    return keras.Model(clip, x, name="frame_voting")
