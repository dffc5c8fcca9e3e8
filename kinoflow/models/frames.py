"""Models that see single frames, in no order: voting, and mean and deviation over time."""

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
    """Classify single frames and let them vote; the order of frames plays no part.

    Single-frame baseline and late fusion by averaging as in Karpathy et al., "Large-scale Video
    Classification with Convolutional Neural Networks" (CVPR 2014). Training fits the mean of the
    frames' probabilities.

    Args:
        filters: channels of each block, a 3x3 convolution and a pooling; those of LRCN, to
            compare with.
        pools: side in pixels of each block's pooling; halving leaves 4x4 of 64x64 pixels.
        backbone: a network of keras.applications (VGG16, say) or SqueezeNet in the place of the
            blocks; null: the blocks, from scratch.
        weights: of the backbone: a name that Keras fetches (imagenet) or a file's path; null:
            random ones, so that nothing is fetched unasked.
        trainable: whether the backbone learns; off, since pretrained features suit small data.
        flatten: whether the features are laid out in full rather than averaged over space. Off:
            averages take fewer weights.
        units: widths of dense layers before the head, each followed by dropout; none, for small
            data.
        dropout: fraction of features set to zero in training, between blocks and before the head.
        vote: `mean` of the frames' probabilities, or `mode`: the share of frames for which each
            class is the most probable. The mean, since it is what training fits.

    Raises ValueError for another vote, or if `filters` and `pools` differ in length; UserError
    for a backbone that is not known and weights that cannot be had.
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

    The order of frames plays no part, but how much they differ does. Mean and deviation as a
    summary of a sequence: Snyder et al., "X-Vectors: Robust DNN Embeddings for Speaker
    Recognition" (ICASSP 2018).

    Args:
        filters: channels of each block, a 3x3 convolution and a pooling; those of frame voting,
            to compare with.
        pools: side in pixels of each block's pooling; halving leaves 4x4 of 64x64 pixels.
        backbone: a network of keras.applications (VGG16, say) or SqueezeNet in the place of the
            blocks; null: the blocks, from scratch.
        weights: of the backbone: a name that Keras fetches (imagenet) or a file's path; null:
            random ones, so that nothing is fetched unasked.
        trainable: whether the backbone learns; off, since pretrained features suit small data.
        dropout: fraction of the moments set to zero in training; half, for small data.

    Raises ValueError if `filters` and `pools` differ in length; UserError for a backbone that is
    not known and weights that cannot be had.
    """

    def blocks(x):
        return plain_cnn(x, filters, pools)

    def features(x):
        x = image_features(x, blocks, backbone=backbone, weights=weights, trainable=trainable)
        return layers.GlobalAveragePooling2D()(x)

    x = MomentsOverTime()(per_frame(clip.pixels(), features), mask=clip.mask())
    # deviations are small beside means, and networks differ in scale by orders of magnitude
    x = batch_normalised(x, learned=False)
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip.input, probabilities(x, classes), name="frame_moments")
