"""Depthwise convolution of clips in space and time."""

import keras
from keras import layers, ops

from kinoflow.models.layers.base import register


@register
class DepthwiseConv3D(layers.Layer):
    """Every channel of (B, T, H, W, C) convolved by itself, with "same" padding.

    Keras has no such layer, and grouped 3D convolutions are slow or missing on most devices. So a
    kernel of kt x k x k is computed as kt depthwise 2D convolutions of all frames, each shifted
    by one frame, and their sum: `benchmarks/depthwise.py` compares the two.

    Args:
        kernel_size: frames, rows and columns of the kernel.
        strides: steps in frames, rows and columns; those of rows and columns must be equal.

    Raises ValueError for unequal strides in space.
    """

    def __init__(
        self,
        kernel_size: tuple[int, int, int] = (3, 3, 3),
        strides: tuple[int, int, int] = (1, 1, 1),
        **kwargs,
    ):
        super().__init__(**kwargs)
        if strides[1] != strides[2]:
            raise ValueError(f"strides in space must be equal, got {strides}")
        self.kernel_size = tuple(kernel_size)
        self.strides = tuple(strides)

    def build(self, shape):
        span, height, width = self.kernel_size
        # He initialisation: each output sums as many products as one channel's kernel has weights
        scale = keras.initializers.RandomNormal(stddev=(2 / (span * height * width)) ** 0.5)
        self.kernel = self.add_weight(
            shape=(span, height, width, shape[-1], 1), initializer=scale, name="kernel"
        )

    def call(self, x):
        frames, span = x.shape[1], self.kernel_size[0]
        step, stride, _ = self.strides
        steps = -(-frames // step)
        # as in Keras, the larger part of an uneven padding comes last
        missing = max((steps - 1) * step + span - frames, 0)
        before = missing // 2
        x = ops.pad(x, [(0, 0), (before, missing - before), (0, 0), (0, 0), (0, 0)])
        last = (steps - 1) * step + 1
        taps = [
            self._convolved(x[:, tap : tap + last : step], self.kernel[tap], stride)
            for tap in range(span)
        ]
        return sum(taps[1:], taps[0])

    def _convolved(self, x, kernel, stride: int):
        frames = x.shape[1]
        x = ops.reshape(x, (-1, *x.shape[2:]))
        x = ops.depthwise_conv(x, kernel, strides=stride, padding="same")
        return ops.reshape(x, (-1, frames, *x.shape[1:]))

    def compute_output_shape(self, shape):
        sides = [-(-side // stride) for side, stride in zip(shape[1:4], self.strides, strict=True)]
        return (shape[0], *sides, shape[-1])

    def get_config(self):
        return super().get_config() | {"kernel_size": self.kernel_size, "strides": self.strides}
