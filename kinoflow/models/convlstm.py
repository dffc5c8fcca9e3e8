"""ConvLSTM: recurrence whose state is an image."""

from typing import Literal

import keras
from keras import layers

from kinoflow.models.layers.clip import ClipInput, Inputs
from kinoflow.models.layers.convlstm import ConvLSTM2D
from kinoflow.models.layers.folding import per_frame
from kinoflow.models.layers.heads import probabilities
from kinoflow.models.layers.normalisation import batch_normalised
from kinoflow.models.layers.pooling import AttentionPooling, LastHeld


def convlstm(
    clip: ClipInput,
    classes: int,
    *,
    filters: tuple[int, ...] = (4, 8, 14, 16),
    padding: Literal["valid", "same"] = "valid",
    recurrent_dropout: float = 0.2,
    dropout: float = 0.2,
    batch_norm: bool = False,
    pooling: Literal["flatten", "attention"] = "flatten",
    inputs: Inputs = "frames",
) -> keras.Model:
    """A stack of ConvLSTM layers with pooling in space between them.

    Shi et al., "Convolutional LSTM Network: A Machine Learning Approach for Precipitation
    Nowcasting" (NeurIPS 2015).

    Args:
        filters: channels of each layer, a ConvLSTM of 3x3 and 2x2 pooling; as usual on UCF-50.
        padding: of the convolutions: `valid` loses a pixel on each side, `same` none. As usual
            on UCF-50.
        recurrent_dropout: fraction of the state set to zero in each step of training.
        dropout: fraction of features set to zero in training, between the layers.
        batch_norm: whether batch normalisation follows each layer; off, as usual.
        pooling: what the head sees: the states of all frames side by side (`flatten`; the last
            state replaces those of padding), or their mean with weights from learned
            `attention`. Side by side, as usual.
        inputs: what the network sees of each frame: its colours (`frames`), their change since
            the frame before (`differences`), or `both` stacked. Colours, as usual.

    Raises ValueError for an unknown pooling.
    """
    if pooling not in {"flatten", "attention"}:
        raise ValueError(f"pooling must be flatten or attention, got {pooling!r}")

    def pooled(x):
        if batch_norm:
            x = batch_normalised(x)
        return layers.MaxPooling2D(2, padding="same")(x)

    mask = clip.mask()
    x = clip.pixels(inputs)
    for layer, width in enumerate(filters, start=1):
        x = ConvLSTM2D(
            width,
            3,
            padding=padding,
            recurrent_dropout=recurrent_dropout,
            return_sequences=True,
        )(x)
        x = per_frame(x, pooled)
        if layer < len(filters):
            x = layers.Dropout(dropout)(x)
    # padding comes last in a clip, so the states of the video's frames do not depend on it
    if pooling == "attention":
        x = AttentionPooling()(layers.Reshape((clip.frames, -1))(x), mask=mask)
    else:
        x = layers.Flatten()(LastHeld()(x, mask=mask))
    return keras.Model(clip.input, probabilities(x, classes), name="convlstm")
