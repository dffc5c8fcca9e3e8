"""C3D: a plain stack of convolutions in space and time."""

import keras
from keras import layers

from kinoflow.models.layers.clip import ClipInput, Inputs
from kinoflow.models.layers.convolution import convolved
from kinoflow.models.layers.heads import probabilities


def c3d(
    clip: ClipInput,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 128),
    inputs: Inputs = "differences",
    units: int = 128,
    dropout: float = 0.5,
) -> keras.Model:
    """A stack of 3x3x3 convolutions, each followed by pooling, then a dense layer.

    Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks" (ICCV 2015),
    with group normalisation and with global pooling before the dense layer, for small data. As in
    the paper, the first pooling keeps all frames.

    Args:
        filters: channels after each convolution. Each pooling halves space, and each but the
            first halves time too. A quarter of the paper's, for small data.
        inputs: what the network sees of each frame: its colours (`frames`), their change since
            the frame before (`differences`), or `both` stacked. Change alone, since with it
            R3D does best on few recordings (benchmarks/accuracy.md).
        units: width of the dense layer; as wide as the last convolution.
        dropout: fraction of the dense layer's outputs set to zero in training; the paper's 0.5.
    """
    x = clip.pixels(inputs)
    for stage, width in enumerate(filters):
        x = convolved(x, width, 3)
        x = layers.MaxPooling3D((1 if stage == 0 else 2, 2, 2), padding="same")(x)
    x = layers.GlobalAveragePooling3D()(x)
    x = layers.Dense(units, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip.input, probabilities(x, classes), name="c3d")
