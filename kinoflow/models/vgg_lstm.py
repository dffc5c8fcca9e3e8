"""VGG+LSTM: blocks of two convolutions on every frame, an LSTM over their means."""

import keras
from keras import layers

from kinoflow.models.layers.backbones import pretrained
from kinoflow.models.layers.frames import Differences
from kinoflow.models.layers.recurrence import Pooling, recurrent_model
from kinoflow.models.layers.residual import normalised
from kinoflow.video.spec import ClipSpec


def vgg_lstm(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 128),
    backbone: str | None = None,
    weights: str | None = None,
    trainable: bool = True,
    units: int = 64,
    dropout: float = 0.3,
    pooling: Pooling = "last",
    differences: Differences = False,
) -> keras.Model:
    """An encoder in the style of VGG, averaged over space, and an LSTM over the frames.

    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition" (ICLR 2015). Without `backbone` a small one from scratch, group-normalised;
    with it (VGG16, say) that of keras.applications, with `weights` by name or path.

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """

    def encoder(x):
        if backbone is not None:
            _, x = pretrained(x, backbone, weights, trainable=trainable)
            return layers.GlobalAveragePooling2D()(x)
        for width in filters:
            for _ in range(2):
                x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
                x = layers.ReLU()(normalised(x))
            x = layers.MaxPooling2D(2, padding="same")(x)
        return layers.GlobalAveragePooling2D()(x)

    return recurrent_model(
        "vgg_lstm",
        stored,
        seen,
        classes,
        encoder,
        cell="lstm",
        units=units,
        pooling=pooling,
        dropout=dropout,
        differences=differences,
    )
