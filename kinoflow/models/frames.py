"""Models that ignore the order of frames: voting, and mean and deviation over time."""

from typing import Literal

import keras
from keras import layers

from kinoflow.models.layers.clip import ClipInput
from kinoflow.models.layers.encoders import image_features, plain_cnn
from kinoflow.models.layers.folding import per_frame
from kinoflow.models.layers.heads import probabilities
from kinoflow.models.layers.normalisation import batch_normalised
from kinoflow.models.layers.pooling import MomentsOverTime, Vote


def frame_voting(
    clip: ClipInput,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 64),
    pools: tuple[int, ...] = (2, 2, 2, 2),
    backbone: str | None = None,
    weights: str | None = None,
    trainable: bool = False,
    flatten: bool = False,
    units: tuple[int, ...] = (),
    dropout: float = 0.25,
    vote: Literal["mean", "mode"] = "mean",
) -> keras.Model:
    """Classify single frames and let them vote; the order of frames does not matter.

    Single-frame baseline and late fusion by averaging as in Karpathy et al., "Large-scale Video
    Classification with Convolutional Neural Networks" (CVPR 2014). Training fits the mean of the
    frames' probabilities.

    Args:
        filters: channels of each block, a 3x3 convolution and a pooling; as in LRCN, so that the
            two can be compared.
        pools: side in pixels of each block's pooling; halving leaves 4x4 of 64x64 pixels.
        backbone: an image network instead of the blocks: one of keras.applications, such as
            VGG16, or SqueezeNet; null: the blocks.
        weights: of the backbone: a name that Keras downloads (imagenet) or a file's path; null:
            random weights, so that nothing is downloaded unasked.
        trainable: whether the backbone learns; off, since pretrained features suit small data.
        flatten: whether the features are flattened rather than averaged over space. Off, since
            the layer after averages has fewer weights.
        units: widths of dense layers before the head, each followed by dropout; none, for small
            data.
        dropout: fraction of features set to zero in training, between blocks and before the head.
        vote: `mean` of the frames' probabilities, or `mode`: the share of frames for which each
            class is the most probable. The mean, since training fits it.

    Raises ValueError for an unknown vote, or if `filters` and `pools` differ in length; UserError
    for an unknown backbone and for weights that cannot be loaded.
    """

    def blocks(x):
        return plain_cnn(x, filters, pools, dropout)

    def classified(x):
        """Each frame: (N, H, W, 3) to (N, classes)."""
        x = image_features(x, blocks, backbone=backbone, weights=weights, trainable=trainable)
        x = layers.Flatten()(x) if flatten else layers.GlobalAveragePooling2D()(x)
        for width in units:
            x = layers.Dropout(dropout)(layers.Dense(width, activation="relu")(x))
        if not units:
            x = layers.Dropout(dropout)(x)
        return layers.Dense(classes, activation="softmax", dtype="float32")(x)

    x = per_frame(clip.pixels(), classified, dtype="float32")
    x = Vote(vote, dtype="float32", name="probabilities")(x, mask=clip.mask())
    return keras.Model(clip.input, x, name="frame_voting")


def frame_moments(
    clip: ClipInput,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 64),
    pools: tuple[int, ...] = (2, 2, 2, 2),
    backbone: str | None = None,
    weights: str | None = None,
    trainable: bool = False,
    dropout: float = 0.5,
) -> keras.Model:
    """Mean and deviation over time of an image network's features, and a linear head.

    The order of frames does not matter, but how much they differ does. Mean and deviation
    summarise a sequence as in Snyder et al., "X-Vectors: Robust DNN Embeddings for Speaker
    Recognition" (ICASSP 2018).

    Args:
        filters: channels of each block, a 3x3 convolution and a pooling; as in frame voting, so
            that the two can be compared.
        pools: side in pixels of each block's pooling; halving leaves 4x4 of 64x64 pixels.
        backbone: an image network instead of the blocks: one of keras.applications, such as
            VGG16, or SqueezeNet; null: the blocks.
        weights: of the backbone: a name that Keras downloads (imagenet) or a file's path; null:
            random weights, so that nothing is downloaded unasked.
        trainable: whether the backbone learns; off, since pretrained features suit small data.
        dropout: fraction of the moments set to zero in training; half, for small data.

    Raises ValueError if `filters` and `pools` differ in length; UserError for an unknown
    backbone and for weights that cannot be loaded.
    """

    def blocks(x):
        return plain_cnn(x, filters, pools)

    def features(x):
        x = image_features(x, blocks, backbone=backbone, weights=weights, trainable=trainable)
        return layers.GlobalAveragePooling2D()(x)

    x = MomentsOverTime()(per_frame(clip.pixels(), features), mask=clip.mask())
    # deviations are much smaller than means, and networks' features differ in scale
    x = batch_normalised(x, learned=False)
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip.input, probabilities(x, classes), name="frame_moments")
