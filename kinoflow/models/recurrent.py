"""A network on every frame and a recurrent layer over time: RNN, LSTM and GRU models."""

from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import layers

from kinoflow.models.layers.clip import ClipInput, Inputs
from kinoflow.models.layers.convolution import basic_block, convolved, residual_stages
from kinoflow.models.layers.encoders import image_features, plain_cnn
from kinoflow.models.layers.folding import per_frame
from kinoflow.models.layers.heads import probabilities
from kinoflow.models.layers.pooling import AttentionPooling

Cell = Literal["rnn", "lstm", "gru"]
Pooling = Literal["last", "attention"]

_CELLS = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}


def cnn_rnn(
    clip: ClipInput,
    classes: int,
    *,
    filters: tuple[int, ...] = (32, 64, 128),
    dense: int = 0,
    units: int = 64,
    dropout: float = 0.25,
    batch_norm: bool = False,
    pooling: Pooling = "last",
    inputs: Inputs = "frames",
) -> keras.Model:
    """Blocks of convolution on every frame, then an Elman network over the frames' vectors.

    Elman, "Finding Structure in Time" (Cognitive Science, 1990), on the features of a CNN.

    Args:
        filters: channels of each block, a 3x3 convolution and 2x2 pooling; as usual on UCF-50.
        dense: width of a dense layer on the features of each frame; 0: no such layer.
        units: length of the recurrent state; small, for small data.
        dropout: fraction of features set to zero in training, between the blocks.
        batch_norm: whether batch normalisation follows each convolution; off, as usual.
        pooling: what the head sees: the `last` state, or the mean of all states with weights from
            learned `attention`. The last one, as usual.
        inputs: what the network sees of each frame: its colours (`frames`), their change since
            the frame before (`differences`), or `both` stacked. Colours, as usual.

    Raises ValueError for an unknown pooling.
    """
    return _recurrent_model(
        clip,
        classes,
        _cnn_encoder(filters, dropout, batch_norm=batch_norm, dense=dense),
        name="cnn_rnn",
        cell="rnn",
        units=units,
        pooling=pooling,
        inputs=inputs,
    )


def cnn_lstm(
    clip: ClipInput,
    classes: int,
    *,
    filters: tuple[int, ...] = (32, 64, 128),
    cell: Literal["lstm", "gru"] = "lstm",
    dense: int = 0,
    units: int = 64,
    dropout: float = 0.25,
    batch_norm: bool = False,
    pooling: Pooling = "last",
    inputs: Inputs = "frames",
) -> keras.Model:
    """Blocks of convolution on every frame, then gated recurrence over the frames' vectors.

    Hochreiter and Schmidhuber, "Long Short-Term Memory" (Neural Computation, 1997); for the GRU
    Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
    Translation" (EMNLP 2014).

    Args:
        filters: channels of each block, a 3x3 convolution and 2x2 pooling; as usual on UCF-50.
        cell: `lstm`, as common, or `gru`, which has a quarter fewer weights.
        dense: width of a dense layer on the features of each frame; 0: no such layer.
        units: length of the recurrent state; small, for small data.
        dropout: fraction of features set to zero in training, between the blocks.
        batch_norm: whether batch normalisation follows each convolution; off, as usual.
        pooling: what the head sees: the `last` state, or the mean of all states with weights from
            learned `attention`. The last one, as usual.
        inputs: what the network sees of each frame: its colours (`frames`), their change since
            the frame before (`differences`), or `both` stacked. Colours, as usual.

    Raises ValueError for an unknown cell or pooling.
    """
    return _recurrent_model(
        clip,
        classes,
        _cnn_encoder(filters, dropout, batch_norm=batch_norm, dense=dense),
        name="cnn_lstm",
        cell=cell,
        units=units,
        pooling=pooling,
        inputs=inputs,
    )


def lrcn(
    clip: ClipInput,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 64),
    pools: tuple[int, ...] = (4, 4, 2, 2),
    units: int = 32,
    dropout: float = 0.25,
    batch_norm: bool = False,
    pooling: Pooling = "last",
    inputs: Inputs = "frames",
) -> keras.Model:
    """Long-term recurrent convolutional network, in the small form common on UCF-50.

    Donahue et al., "Long-term Recurrent Convolutional Networks for Visual Recognition and
    Description" (CVPR 2015).

    Args:
        filters: channels of each block, a 3x3 convolution and a pooling; as usual on UCF-50.
        pools: side in pixels of each block's pooling; together they reduce 64x64 pixels to one.
        units: length of the LSTM's state; as usual on UCF-50.
        dropout: fraction of features set to zero in training, between the blocks.
        batch_norm: whether batch normalisation follows each convolution; off, as usual.
        pooling: what the head sees: the `last` state, or the mean of all states with weights from
            learned `attention`. The last one, as usual.
        inputs: what the network sees of each frame: its colours (`frames`), their change since
            the frame before (`differences`), or `both` stacked. Colours, as usual.

    Raises ValueError for an unknown pooling, or if `filters` and `pools` differ in length.
    """

    def encoder(x):
        return layers.Flatten()(plain_cnn(x, filters, pools, dropout, batch_norm=batch_norm))

    return _recurrent_model(
        clip,
        classes,
        encoder,
        name="lrcn",
        cell="lstm",
        units=units,
        pooling=pooling,
        inputs=inputs,
    )


def vgg_lstm(
    clip: ClipInput,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 128),
    backbone: str | None = None,
    weights: str | None = None,
    trainable: bool = True,
    units: int = 64,
    dropout: float = 0.3,
    pooling: Pooling = "last",
    inputs: Inputs = "frames",
) -> keras.Model:
    """Blocks of two convolutions on every frame, averaged over space, and an LSTM over time.

    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition" (ICLR 2015).

    Args:
        filters: channels of each block, two 3x3 convolutions with group normalisation and 2x2
            pooling; a quarter of the paper's, for small data.
        backbone: an image network instead of the blocks: one of keras.applications, such as
            VGG16, or SqueezeNet; null: the blocks.
        weights: of the backbone: a name that Keras downloads (imagenet) or a file's path; null:
            random weights, so that nothing is downloaded unasked.
        trainable: whether the backbone learns; on, since random weights have to.
        units: length of the LSTM's state; small, for small data.
        dropout: fraction of the head's inputs set to zero in training; for small data.
        pooling: what the head sees: the `last` state, or the mean of all states with weights from
            learned `attention`. The last one, as usual.
        inputs: what the network sees of each frame: its colours (`frames`), their change since
            the frame before (`differences`), or `both` stacked. Colours: a backbone takes
            nothing else.

    Raises ValueError for an unknown pooling or for a backbone that is given more than colours;
    UserError for an unknown backbone and for weights that cannot be loaded.
    """

    def blocks(x):
        for width in filters:
            x = convolved(convolved(x, width, 3), width, 3)
            x = layers.MaxPooling2D(2, padding="same")(x)
        return x

    return _recurrent_model(
        clip,
        classes,
        _averaging_encoder(blocks, backbone=backbone, weights=weights, trainable=trainable),
        name="vgg_lstm",
        cell="lstm",
        units=units,
        pooling=pooling,
        dropout=dropout,
        inputs=inputs,
    )


def resnet_lstm(
    clip: ClipInput,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 128),
    backbone: str | None = None,
    weights: str | None = None,
    trainable: bool = True,
    units: int = 64,
    dropout: float = 0.3,
    pooling: Pooling = "last",
    inputs: Inputs = "frames",
) -> keras.Model:
    """Residual blocks on every frame, averaged over space, and an LSTM over time.

    He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016).

    Args:
        filters: channels of each residual block, group-normalised; each but the first halves
            space. A quarter of the paper's, for small data.
        backbone: an image network instead of the blocks: one of keras.applications, such as
            ResNet50, or SqueezeNet; null: the blocks.
        weights: of the backbone: a name that Keras downloads (imagenet) or a file's path; null:
            random weights, so that nothing is downloaded unasked.
        trainable: whether the backbone learns; on, since random weights have to.
        units: length of the LSTM's state; small, for small data.
        dropout: fraction of the head's inputs set to zero in training; for small data.
        pooling: what the head sees: the `last` state, or the mean of all states with weights from
            learned `attention`. The last one, as usual.
        inputs: what the network sees of each frame: its colours (`frames`), their change since
            the frame before (`differences`), or `both` stacked. Colours: a backbone takes
            nothing else.

    Raises ValueError for an unknown pooling or for a backbone that is given more than colours;
    UserError for an unknown backbone and for weights that cannot be loaded.
    """

    def blocks(x):
        return residual_stages(convolved(x, filters[0], 3, 2), filters, basic_block)

    return _recurrent_model(
        clip,
        classes,
        _averaging_encoder(blocks, backbone=backbone, weights=weights, trainable=trainable),
        name="resnet_lstm",
        cell="lstm",
        units=units,
        pooling=pooling,
        dropout=dropout,
        inputs=inputs,
    )


Encoder = Callable[[Any], Any]  # images (N, H, W, C) to vectors (N, D)


def _cnn_encoder(
    filters: tuple[int, ...], dropout: float, *, batch_norm: bool, dense: int
) -> Encoder:
    """Blocks of convolution and 2x2 pooling, then a dense layer of `dense` units unless 0."""

    def encoder(x):
        pools = (2,) * len(filters)
        x = layers.Flatten()(plain_cnn(x, filters, pools, dropout, batch_norm=batch_norm))
        return layers.Dense(dense, activation="relu")(x) if dense else x

    return encoder


def _averaging_encoder(
    blocks: Encoder, *, backbone: str | None, weights: str | None, trainable: bool
) -> Encoder:
    """The features of `blocks`, or of a backbone if one is named, averaged over space."""

    def encoder(x):
        x = image_features(x, blocks, backbone=backbone, weights=weights, trainable=trainable)
        return layers.GlobalAveragePooling2D()(x)

    return encoder


def _recurrent_model(
    clip: ClipInput,
    classes: int,
    encoder: Encoder,
    *,
    name: str,
    cell: Cell,
    units: int,
    pooling: Pooling,
    inputs: Inputs,
    dropout: float = 0.0,
) -> keras.Model:
    """A vector per frame, a recurrent layer over the vectors, and the head; padding is ignored."""
    if cell not in _CELLS:
        raise ValueError(f"cell must be one of {', '.join(_CELLS)}, got {cell!r}")
    if pooling not in {"last", "attention"}:
        raise ValueError(f"pooling must be last or attention, got {pooling!r}")
    mask = clip.mask()
    x = per_frame(clip.pixels(inputs), encoder)
    x = _CELLS[cell](units, return_sequences=pooling == "attention")(x, mask=mask)
    if pooling == "attention":
        x = AttentionPooling()(x, mask=mask)
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip.input, probabilities(x, classes), name=name)
