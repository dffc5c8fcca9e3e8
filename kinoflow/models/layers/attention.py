"""Transformers over patches of clips."""

from typing import Any

import keras
from keras import layers, ops

from kinoflow.models.layers.base import TakesMask, register
from kinoflow.models.layers.factorised import FactorisedConv3D


@register
class Position(layers.Layer):
    """Add a learned vector (C,) for each index along one axis of (B, T, S, C)."""

    def __init__(self, axis: int, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis

    def build(self, shape):
        sides = [1] * len(shape)
        sides[self.axis], sides[-1] = shape[self.axis], shape[-1]
        small = keras.initializers.TruncatedNormal(stddev=0.02)
        self.vectors = self.add_weight(shape=tuple(sides), initializer=small, name="vectors")

    def call(self, x):
        return x + ops.cast(self.vectors, x.dtype)

    def get_config(self):
        return super().get_config() | {"axis": self.axis}


@register
class AttentionAlong(TakesMask):
    """Self-attention on (B, T, S, D) along time (axis 1) or along space (axis 2).

    Along time, frames of padding are not attended to if the caller gives a mask (B, T).

    Args:
        axis: 1 or 2.
        heads: number of attention heads.
        dropout: fraction of attention weights set to zero in training.
        head_width: channels of a head; None: D / heads. A layer that has lost heads keeps theirs.
    """

    def __init__(
        self,
        axis: int,
        heads: int,
        dropout: float = 0.0,
        head_width: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.axis = axis
        self.heads = heads
        self.dropout = dropout
        self.head_width = head_width

    def build(self, shape):
        self.attention = layers.MultiHeadAttention(
            self.heads,
            self.head_width or shape[-1] // self.heads,
            dropout=self.dropout,
            use_bias=False,  # the bias of the keys would have no gradient
            dtype=self.dtype_policy,
        )
        folded = (None, shape[self.axis], shape[-1])
        self.attention.build(folded, folded)

    def call(self, x, mask=None, training=None):
        _, frames, places, width = x.shape
        if self.axis == 2:
            folded = ops.reshape(x, (-1, places, width))
            folded = self.attention(folded, folded, training=training)
            return ops.reshape(folded, (-1, frames, places, width))
        folded = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, frames, width))
        if mask is not None:
            mask = ops.repeat(mask, places, axis=0)[:, None, :]
        folded = self.attention(folded, folded, attention_mask=mask, training=training)
        return ops.transpose(ops.reshape(folded, (-1, places, frames, width)), (0, 2, 1, 3))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        own = {"axis": self.axis, "heads": self.heads, "dropout": self.dropout}
        if self.head_width is not None:  # files of other models stay what they were
            own["head_width"] = self.head_width
        return super().get_config() | own


def attend(x, axis: int, heads: int, dropout: float, mask: Any = None):
    """A residual block on (B, T, S, D): layer normalisation, then `AttentionAlong` one axis.

    Args:
        x: features (B, T, S, D).
        axis, heads, dropout: of `AttentionAlong`.
        mask: bool (B, T), which frames are not padding; None: all.
    """
    y = AttentionAlong(axis, heads, dropout)(layers.LayerNormalization()(x), mask=mask)
    return layers.Add()([x, y])


def feed_forward(x, dropout: float, ratio: int = 2):
    """A residual block on (B, T, S, D): layer normalisation, then two dense layers on D.

    Args:
        x: features (B, T, S, D).
        dropout: fraction of features set to zero in training, after each dense layer.
        ratio: how many times as wide as D the first dense layer is.
    """
    width = x.shape[-1]
    y = layers.LayerNormalization()(x)
    y = layers.Dense(ratio * width, activation="gelu")(y)
    y = layers.Dense(width)(layers.Dropout(dropout)(y))
    return layers.Add()([x, layers.Dropout(dropout)(y)])


def tubelets(x, width: int, frames: int, patch: int):
    """Cut (B, T, H, W, C) into tubelets of frames x patch x patch pixels: (B, T', S, width).

    The vector of a tubelet is a projection of its pixels plus learned vectors for its time and its
    place. Arnab et al., "ViViT: A Video Vision Transformer" (ICCV 2021). With `frames` 1, tubelets
    are patches of images.
    """
    size = (frames, patch, patch)
    x = FactorisedConv3D(width, size, strides=size, padding="same")(x)
    _, steps, rows, columns, _ = x.shape
    x = layers.Reshape((steps, rows * columns, width))(x)
    return Position(axis=2)(Position(axis=1)(x))
