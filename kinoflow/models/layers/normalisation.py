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
        channels = x.shape[-1]
        y = ops.cast(x, "float32")
        gamma = self.gamma if self.scale else ops.ones((channels,))
        beta = self.beta if self.center else ops.zeros((channels,))
        groups = (self.groups, channels // self.groups)

        @ops.custom_gradient
        def normalised(y, gamma, beta):
            return _normalised(y, gamma, beta, self.epsilon)

        y = normalised(y, ops.reshape(gamma, groups), ops.reshape(beta, groups))
        return ops.cast(y, self.compute_dtype)


def _normalised(x, gamma, beta, epsilon: float):
    """Group-normalised (B, ..., C), and the function from its gradient to the arguments'.

    gamma and beta are (groups, channels of a group), whose product is C.
    """
    shape, channels = (-1, *x.shape[1:]), x.shape[-1]
    count = math.prod(x.shape[1:-1])

    def sums(values):
        """(B, ..., C) to (B, groups, channels of a group), axis by axis: little is rounded away."""
        while len(values.shape) > 2:
            values = ops.sum(values, axis=-2)
        return ops.reshape(values, (-1, *gamma.shape))

    def over_group(values):
        return ops.mean(values, axis=-1, keepdims=True) / count

    def by_channel(values):
        return ops.reshape(values, (-1, 1, channels))

    flat = ops.reshape(x, (-1, count, channels))
    mean = over_group(sums(x))
    variance = over_group(sums(ops.square(x))) - ops.square(mean)
    inverse = ops.rsqrt(ops.maximum(variance, 0.0) + epsilon)
    scale = gamma * inverse
    y = flat * by_channel(scale) + by_channel(beta - mean * scale)

    def gradients(*args, upstream=None):
        dy = args[0] if upstream is None else upstream
        d_offset = sums(dy)
        d_scale = sums(dy * x) - mean * d_offset
        # through the mean and the variance, which depend on every value of the group
        d_variance = -over_group(gamma * d_scale) * inverse**3
        d_mean = -over_group(gamma * d_offset) * inverse - d_variance * mean
        slope = ops.broadcast_to(d_variance, ops.shape(scale))
        shift = ops.broadcast_to(d_mean, ops.shape(scale))
        dy = ops.reshape(dy, (-1, count, channels))
        dx = dy * by_channel(scale) + flat * by_channel(slope) + by_channel(shift)
        return (
            ops.reshape(dx, shape),
            ops.sum(d_scale * inverse, axis=0),
            ops.sum(d_offset, axis=0),
        )

    return ops.reshape(y, shape), gradients


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
