"""LRCN: a CNN on every frame, an LSTM over what it sees."""

import keras

from kinoflow.models.layers.backbones import frame_vectors
from kinoflow.models.layers.frames import Differences
from kinoflow.models.layers.recurrence import Pooling, recurrent_model
from kinoflow.video.spec import ClipSpec


def lrcn(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 64),
    pools: tuple[int, ...] = (4, 4, 2, 2),
    units: int = 32,
    dropout: float = 0.25,
    batch_norm: bool = False,
    pooling: Pooling = "last",
    differences: Differences = False,
) -> keras.Model:
    """Long-term recurrent convolutional network, in the small form common on UCF-50.

    Donahue et al., "Long-term Recurrent Convolutional Networks for Visual Recognition and
    Description" (CVPR 2015).

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """

    def encoder(x):
        return frame_vectors(x, filters, pools, dropout, batch_norm=batch_norm)

    return recurrent_model(
        "lrcn",
        stored,
        seen,
        classes,
        encoder,
        cell="lstm",
        units=units,
        pooling=pooling,
        differences=differences,
    )
