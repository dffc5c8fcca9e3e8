"""CNN+LSTM: three blocks of convolution on every frame, an LSTM or GRU over them."""

from typing import Literal

import keras

from kinoflow.models.layers.backbones import frame_vectors
from kinoflow.models.layers.frames import Differences
from kinoflow.models.layers.recurrence import Pooling, recurrent_model
from kinoflow.video.spec import ClipSpec


def cnn_lstm(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (32, 64, 128),
    cell: Literal["lstm", "gru"] = "lstm",
    dense: int = 0,
    units: int = 64,
    dropout: float = 0.25,
    batch_norm: bool = False,
    pooling: Pooling = "last",
    differences: Differences = False,
) -> keras.Model:
    """Convolution and halving per width, then gated recurrence over the frames' vectors.

    With `dense`, a layer of so many units makes each frame's vector.

    Hochreiter and Schmidhuber, "Long Short-Term Memory" (Neural Computation, 1997); Cho et al.,
    "Learning Phrase Representations using RNN Encoder-Decoder" (EMNLP 2014) for the GRU.

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """

    def encoder(x):
        pools = (2,) * len(filters)
        return frame_vectors(x, filters, pools, dropout, batch_norm=batch_norm, dense=dense)

    return recurrent_model(
        "cnn_lstm",
        stored,
        seen,
        classes,
        encoder,
        cell=cell,
        units=units,
        pooling=pooling,
        differences=differences,
    )
