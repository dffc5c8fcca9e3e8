"""Reading a clip frame by frame: an encoder of images, then a recurrent layer over time."""

from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import layers

from kinoflow.models.layers.frames import (
    Differences,
    FoldTime,
    UnfoldTime,
    clip_frames,
    frame_mask,
    probabilities,
)
from kinoflow.models.layers.pooling import AttentionPooling
from kinoflow.video.spec import ClipSpec

Cell = Literal["rnn", "lstm", "gru"]
Pooling = Literal["last", "attention"]

_CELLS = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}


def recurrent_model(
    name: str,
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    encoder: Callable[[Any], Any],
    *,
    cell: Cell,
    units: int,
    pooling: Pooling,
    dropout: float = 0.0,
    differences: Differences = False,
) -> keras.Model:
    """uint8 (B, T, H, W, 3) to float32 (B, classes), through one vector per frame.

    `encoder` takes images (N, H, W, C) to vectors (N, D). The head sees the last state of the
    recurrent layer, or the mean of all of them under attention. Frames of padding are passed
    over. Raises ValueError for a cell or a pooling that there is not.
    """
    if cell not in _CELLS:
        raise ValueError(f"cell must be one of {', '.join(_CELLS)}, got {cell!r}")
    if pooling not in {"last", "attention"}:
        raise ValueError(f"pooling must be last or attention, got {pooling!r}")
    clip, x = clip_frames(stored, seen, differences=differences)
    mask = frame_mask(clip, stored)
    x = UnfoldTime(seen.frames)(encoder(FoldTime()(x)))
    x = _CELLS[cell](units, return_sequences=pooling == "attention")(x, mask=mask)
    if pooling == "attention":
        x = AttentionPooling()(x, mask=mask)
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip, probabilities(x, classes), name=name)
