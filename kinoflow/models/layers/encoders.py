"""Networks on single images: a small CNN, or a pretrained network instead of it."""

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
    """Blocks of a 3x3 convolution and a pooling, from images to features (N, h, w, filters[-1]).

    Args:
        x: images (N, H, W, C).
        filters: channels of each block.
        pools: the side in pixels of each block's pooling.
        dropout: fraction of features set to zero in training, between blocks.
        batch_norm: whether batch normalisation follows each convolution.

    Raises ValueError if `filters` and `pools` differ in length.
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
    """Features (N, h, w, D) of images, from `encoder` or from a backbone if one is named.

    Args:
        x: images (N, H, W, C).
        encoder: takes images to features.
        backbone: the `name` for `pretrained`; None: `encoder` is used.
        weights: for `pretrained`.
        trainable: for `pretrained`.

    Raises what `pretrained` raises.
    """
    if backbone is None:
        return encoder(x)
    return pretrained(x, backbone, weights, trainable=trainable)
