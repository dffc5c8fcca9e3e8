"""ConvLSTM: recurrence whose state is an image."""

from typing import Literal

import keras
from keras import layers

from kinoflow.models.layers.backbones import BATCH_MOMENTUM
from kinoflow.models.layers.frames import (
    Differences,
    FoldTime,
    UnfoldTime,
    clip_frames,
    frame_mask,
    probabilities,
)
from kinoflow.models.layers.pooling import AttentionPooling, LastHeld
from kinoflow.video.spec import ClipSpec


def convlstm(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (4, 8, 14, 16),
    padding: Literal["valid", "same"] = "valid",
    recurrent_dropout: float = 0.2,
    dropout: float = 0.2,
    batch_norm: bool = False,
    pooling: Literal["flatten", "attention"] = "flatten",
    differences: Differences = False,
) -> keras.Model:
    """A stack of ConvLSTM layers with pooling in space between them.

    Shi et al., "Convolutional LSTM Network: A Machine Learning Approach for Precipitation
    Nowcasting" (NeurIPS 2015); widths and `padding` are those common on UCF-50. The head sees the
    states of all frames side by side, the last of them in the place of padding, or their mean
    under attention.

    uint8 (B, T, H, W, 3) to float32 (B, classes). Raises ValueError for another pooling.
    """
    if pooling not in {"flatten", "attention"}:
        raise ValueError(f"pooling must be flatten or attention, got {pooling!r}")
    clip, x = clip_frames(stored, seen, differences=differences)
    mask = frame_mask(clip, stored)
    for layer, width in enumerate(filters, start=1):
        x = layers.ConvLSTM2D(
            width,
            3,
            padding=padding,
            recurrent_dropout=recurrent_dropout,
            return_sequences=True,
        )(x)
        # as single images: their statistics and their pooling know no time
        x = FoldTime()(x)
        if batch_norm:
            x = layers.BatchNormalization(momentum=BATCH_MOMENTUM)(x)
        x = UnfoldTime(seen.frames)(layers.MaxPooling2D(2, padding="same")(x))
        if layer < len(filters):
            x = layers.Dropout(dropout)(x)
    # padding comes last, and so no state before it knows of it
    if pooling == "attention":
        x = AttentionPooling()(layers.Reshape((seen.frames, -1))(x), mask=mask)
    else:
        x = layers.Flatten()(LastHeld()(x, mask=mask))
    return keras.Model(clip, probabilities(x, classes), name="convlstm")
