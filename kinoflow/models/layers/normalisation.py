"""Normalisation that suits small batches and few steps of training."""

import math

from keras import layers, ops

from kinoflow.models.layers.base import register

# Keras' default of 0.99 needs hundreds of steps to forget the initial statistics: too many for
# small data
_MOMENTUM = 0.9


@register
class GroupNormalization(layers.GroupNormalization):
    """`keras.layers.GroupNormalization` on (B, ..., C), in fewer passes over its input.

    Values and their squares are summed once; then every value is multiplied by a scale and shifted
    by an offset, which differ between clips and channels. Weights, arguments and results are Keras'
    own, but for rounding: a variance is the mean of the squares less the square of the mean, which
    loses a digit where the mean is three times the standard deviation, and two where it is ten.

    Args: those of `keras.layers.GroupNormalization`; the channels are the last axis.
    """

    def call(self, x):
        y = ops.cast(x, "float32")
        mean = self._over_groups(_spatial_mean(y))
        variance = self._over_groups(_spatial_mean(ops.square(y))) - ops.square(mean)
        # for each clip and channel: (B, groups, channels of a group)
        scale = self._of_channels(self.gamma if self.scale else ops.ones((x.shape[-1],)))
        scale = scale * ops.rsqrt(ops.maximum(variance, 0.0) + self.epsilon)
        offset = -mean * scale
        if self.center:
            offset = offset + self._of_channels(self.beta)
        # on three axes, since backends broadcast over more of them slowly
        y = ops.reshape(y, (-1, math.prod(x.shape[1:-1]), x.shape[-1]))
        flat = (-1, 1, x.shape[-1])
        y = y * ops.reshape(scale, flat) + ops.reshape(offset, flat)
        return ops.cast(ops.reshape(y, (-1, *x.shape[1:])), self.compute_dtype)

    def _over_groups(self, x):
        """(B, C) to (B, groups, 1): the mean over each group of channels."""
        grouped = ops.reshape(x, (-1, self.groups, x.shape[-1] // self.groups))
        return ops.mean(grouped, axis=-1, keepdims=True)

    def _of_channels(self, weights):
        """(C,) to (groups, channels of a group)."""
        return ops.reshape(weights, (self.groups, -1))


def _spatial_mean(x):
    """(B, ..., C) to (B, C), axis by axis: sums of few values lose little to rounding."""
    while len(x.shape) > 2:
        x = ops.mean(x, axis=-2)
    return x


def group_normalised(x):
    """Group normalisation of (..., C), in up to 8 groups of channels (Wu and He, ECCV 2018).

    For small batches, as of clips: their statistics are too poor for batch normalisation.
    """
    channels = x.shape[-1]
    groups = next(groups for groups in range(min(8, channels), 0, -1) if channels % groups == 0)
    return GroupNormalization(groups=groups)(x)


def batch_normalised(x, *, learned: bool = True):
    """Batch normalisation of (..., C) (Ioffe and Szegedy, ICML 2015).

    With `learned`, each channel then gets a learned scale and offset.
    """
    return layers.BatchNormalization(momentum=_MOMENTUM, center=learned, scale=learned)(x)
