"""Networks on single images: a plain one from scratch, or a pretrained one in its place."""

from collections.abc import Callable
from typing import Any

from keras import layers

from kinoflow.models.layers.backbones import pretrained
from kinoflow.models.layers.normalisation import batch_normalised


def plain_cnn(
    x,
    filters: tuple[int, ...],
    pools: tuple[int, ...],
    dropout: float = 0.0,
    *,
    batch_norm: bool = False,
):
    """Images (N, H, W, C) to features (N, h, w, filters[-1]): per width a convolution and pooling.

    Args:
        x: images.
        filters: the width of each convolution of 3x3.
        pools: the side in pixels of the pooling after it, one per width.
        dropout: fraction of features set to zero in training, between the widths.
        batch_norm: whether batch normalisation follows each convolution.

    Raises ValueError where `filters` and `pools` differ in length.
    """
    for block, (width, pool) in enumerate(zip(filters, pools, strict=True)):
        if block:
            x = layers.Dropout(dropout)(x)
        x = layers.Conv2D(width, 3, padding="same", use_bias=not batch_norm)(x)
        if batch_norm:
            x = batch_normalised(x)
        x = layers.ReLU()(x)
        x = layers.MaxPooling2D(pool, padding="same")(x)
    return x


def image_features(
    x: Any,
    encoder: Callable[[Any], Any],
    *,
    backbone: str | None,
    weights: str | None,
    trainable: bool,
) -> Any:
    """Features (N, h, w, D) of images: those of `encoder`, or of a pretrained network if named.

    `backbone`, `weights` and `trainable` are what `pretrained` takes as `name`, `weights` and
    `trainable`; it says what it raises.
    """
    if backbone is None:
        return encoder(x)
    return pretrained(x, backbone, weights, trainable=trainable)
