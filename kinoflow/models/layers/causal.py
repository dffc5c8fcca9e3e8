"""Layers that never look ahead, so that a model made of them can read a video frame by frame."""

import keras
from keras import ops

from kinoflow.models.layers.base import Causal, register, with_ones


@register
class CausalConvolution(Causal):
    """Every channel of (B, T, H, W, C) convolved over its own last `span` frames."""

    def __init__(self, span: int, **kwargs):
        super().__init__(**kwargs)
        self.span = span

    def build(self, shape):
        scale = keras.initializers.RandomNormal(stddev=(2 / self.span) ** 0.5)
        self.kernel = self.add_weight(
            shape=(self.span, shape[-1]), initializer=scale, name="kernel"
        )

    def state_shape(self, shape):
        return (self.span - 1, *shape[2:])

    def step(self, x, state):
        _, frames, height, width, channels = x.shape
        known = ops.concatenate([state, x], axis=1)
        # as images with a row for each frame, whose columns the kernel does not connect
        rows = ops.reshape(known, (-1, frames + self.span - 1, height * width, channels))
        y = ops.depthwise_conv(rows, self.kernel[:, None, :, None])
        return ops.reshape(y, (-1, *x.shape[1:])), known[:, frames:]

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return super().get_config() | {"span": self.span}


@register
class CausalMean(Causal):
    """The mean over space and all frames so far: (B, T, H, W, C) to (B, T, C)."""

    def state_shape(self, shape):
        # the sum so far, and the number of frames in it
        return (1, shape[-1] + 1)

    def step(self, x, state):
        sums = ops.cumsum(with_ones(ops.mean(x, axis=(2, 3))), axis=1) + state
        return sums[..., :-1] / sums[..., -1:], sums[:, -1:]

    def compute_output_shape(self, shape):
        return (*shape[:2], shape[-1])
