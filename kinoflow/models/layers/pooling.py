"""Pooling over time: from features of frames to features of the clip, without its padding."""

import math
from typing import Literal

from keras import layers, ops

from kinoflow.models.layers.base import TakesMask, register


def masked_mean(x, mask):
    """(B, T, D) to (B, D): the mean over the frames where mask (B, T) is true, or over all."""
    if mask is None:
        return ops.mean(x, axis=1)
    weights = ops.cast(mask, x.dtype)[..., None]
    return ops.sum(x * weights, axis=1) / ops.sum(weights, axis=1)


@register
class Vote(TakesMask):
    """Probabilities of frames (B, T, classes) to those of the clip (B, classes).

    `mean` averages them. `mode` gives, for each class, the share of frames for which that class is
    the most probable. Counting has no gradient, so training averages in both cases. In `mode` the
    mean counts as one more frame: this breaks ties, cannot overturn a majority, and leaves no
    class with a probability of zero.
    """

    def __init__(self, vote: Literal["mean", "mode"], **kwargs):
        super().__init__(**kwargs)
        if vote not in {"mean", "mode"}:
            raise ValueError(f"vote must be mean or mode, got {vote!r}")
        self.vote = vote

    def call(self, x, mask=None, training=False):
        mean = masked_mean(x, mask)
        if self.vote == "mean" or training:
            return mean
        ballots = ops.one_hot(ops.argmax(x, axis=-1), x.shape[-1], dtype=x.dtype)
        ballots = ballots if mask is None else ballots * ops.cast(mask, x.dtype)[..., None]
        voters = ops.sum(ballots, axis=(1, 2))[:, None]
        return (ops.sum(ballots, axis=1) + mean) / (voters + 1)

    def compute_output_shape(self, shape):
        return (shape[0], shape[-1])

    def get_config(self):
        return super().get_config() | {"vote": self.vote}


@register
class LastHeld(TakesMask):
    """Replace each frame of padding in (B, T, ...) by the last frame that is not padding."""

    def call(self, x, mask=None):
        if mask is None:
            return x
        places = ops.arange(x.shape[1])
        last = ops.max(ops.where(mask, places, 0), axis=1, keepdims=True)
        kept = ops.one_hot(ops.minimum(places, last), x.shape[1], dtype=x.dtype)
        flat = ops.reshape(x, (-1, x.shape[1], math.prod(x.shape[2:])))
        return ops.reshape(kept @ flat, (-1, *x.shape[1:]))

    def compute_output_shape(self, shape):
        return shape


@register
class AttentionPooling(TakesMask):
    """(B, T, D) to (B, D): the mean over time with learned weights.

    The weight of a frame is the softmax over time of v . tanh(W x), as in Yang et al.,
    "Hierarchical Attention Networks for Document Classification" (NAACL 2016).
    """

    def build(self, shape):
        width = shape[-1]
        self.kernel = self.add_weight(shape=(width, width), name="kernel")
        self.bias = self.add_weight(shape=(width,), initializer="zeros", name="bias")
        self.score = self.add_weight(shape=(width, 1), name="score")

    def call(self, x, mask=None):
        scores = ops.tanh(x @ self.kernel + self.bias) @ self.score
        if mask is not None:
            scores = ops.where(mask[..., None], scores, -1e4)  # within the range of float16
        return ops.sum(ops.softmax(scores, axis=1) * x, axis=1)

    def compute_output_shape(self, shape):
        return (shape[0], shape[-1])


@register
class MomentsOverTime(TakesMask):
    """(B, T, D) to (B, 2D): the mean over time, then the standard deviation."""

    def call(self, x, mask=None):
        mean = masked_mean(x, mask)
        variance = masked_mean(ops.square(x - mean[:, None]), mask)
        # where a feature is the same in every frame, the variance is 0 and the square root has no
        # gradient
        return ops.concatenate([mean, ops.sqrt(variance + 1e-6)], axis=-1)

    def compute_output_shape(self, shape):
        return (shape[0], 2 * shape[-1])


@register
class LastFrame(layers.Layer):
    """(B, T, ...) to (B, ...): the features of the last frame."""

    def call(self, x):
        return x[:, -1]

    def compute_output_shape(self, shape):
        return (shape[0], *shape[2:])


@register
class MeanOverTime(TakesMask):
    """(B, T, D) to (B, D): the mean over time."""

    def call(self, x, mask=None):
        return masked_mean(x, mask)

    def compute_output_shape(self, shape):
        return (shape[0], shape[-1])
