"""ConvLSTM: recurrence whose state is an image."""

import keras
from keras import layers

from kinoflow.models.layers import Pixels, clip_input, probabilities
from kinoflow.video import ClipSpec


def convlstm(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (4, 8, 14, 16),
    recurrent_dropout: float = 0.2,
    dropout: float = 0.2,
) -> keras.Model:
    """A stack of ConvLSTM layers with pooling in space between them.

    Shi et al., "Convolutional LSTM Network: A Machine Learning Approach for Precipitation
    Nowcasting" (NeurIPS 2015); the widths are those common on UCF-50.

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """
    clip = clip_input(seen.frames, stored.height, stored.width)
    x = Pixels(seen.height, seen.width)(clip)
    for width in filters:
        x = layers.ConvLSTM2D(
            width,
            3,
            padding="same",
            recurrent_dropout=recurrent_dropout,
            return_sequences=True,
        )(x)
        x = layers.MaxPooling3D((1, 2, 2), padding="same")(x)
        if width != filters[-1]:
            x = layers.SpatialDropout3D(dropout)(x)
    x = layers.Flatten()(x)
    return keras.Model(clip, probabilities(x, classes), name="convlstm")
