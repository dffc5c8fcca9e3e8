"""ResNet+LSTM: residual blocks on every frame, an LSTM over their means."""

import keras
from keras import layers

from kinoflow.models.layers.backbones import pretrained
from kinoflow.models.layers.frames import Differences
from kinoflow.models.layers.recurrence import Pooling, recurrent_model
from kinoflow.models.layers.residual import normalised
from kinoflow.video.spec import ClipSpec


def resnet_lstm(
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
    """An encoder in the style of ResNet, averaged over space, and an LSTM over the frames.

    He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016). Without `backbone` a
    small one from scratch, group-normalised; with it (ResNet50, say) that of keras.applications,
    with `weights` by name or path.

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """

    def encoder(x):
        if backbone is not None:
            _, x = pretrained(x, backbone, weights, trainable=trainable)
            return layers.GlobalAveragePooling2D()(x)
        x = _convolved(x, filters[0], 2)
        for stage, width in enumerate(filters):
            x = _residual(x, width, 1 if stage == 0 else 2)
        return layers.GlobalAveragePooling2D()(x)

    return recurrent_model(
        "resnet_lstm",
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


def _residual(x, filters: int, stride: int):
    shortcut = x
    x = _convolved(x, filters, stride)
    x = normalised(layers.Conv2D(filters, 3, padding="same", use_bias=False)(x))
    if shortcut.shape != x.shape:
        shortcut = layers.Conv2D(filters, 1, strides=stride, use_bias=False)(shortcut)
        shortcut = normalised(shortcut)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _convolved(x, filters: int, stride: int):
    x = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(x)
    return layers.ReLU()(normalised(x))
