"""C3D: a plain stack of convolutions in space and time."""

import keras
from keras import layers

from kinoflow.models.layers.frames import Differences, clip_frames, probabilities
from kinoflow.models.layers.residual import convolved
from kinoflow.video.spec import ClipSpec


def c3d(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 128),
    differences: Differences = "only",
    units: int = 128,
    dropout: float = 0.5,
) -> keras.Model:
    """A 3x3x3 convolution and pooling per width, then a dense layer.

    Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks" (ICCV 2015),
    with group normalisation and with global pooling before the dense layer, so that small data
    suffices. The first pooling leaves time alone, as there.

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """
    clip, x = clip_frames(stored, seen, differences=differences)
    for stage, width in enumerate(filters):
        x = convolved(x, width, 3)
        x = layers.MaxPooling3D((1 if stage == 0 else 2, 2, 2), padding="same")(x)
    x = layers.GlobalAveragePooling3D()(x)
    x = layers.Dense(units, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip, probabilities(x, classes), name="c3d")
