"""Convolution of clips that runs as convolution of images where its kernel allows it."""

from keras import layers, ops

from kinoflow.models.layers.base import register


@register
class FactorisedConv3D(layers.Conv3D):
    """`keras.layers.Conv3D` on (B, T, H, W, C), faster for kernels without extent in time or space.

    A kernel of one frame is a 2D convolution of every frame, a kernel of one pixel a 2D
    convolution over time and positions, and a kernel of both a matrix product. Where a device has
    no fast 3D convolution, these take a half to a third of the time (`benchmarks/training.py`).
    Other kernels are left to Keras. Weights, arguments and results are Keras' own.

    Args: those of `keras.layers.Conv3D`, with groups of 1 and the channels last. Frames, height and
        width of the input have to be known.
    """

    def convolution_op(self, inputs, kernel):
        span, *sides = self.kernel_size
        if span > 1 and max(sides) > 1:
            return super().convolution_op(inputs, kernel)
        # Along an axis of size 1, a strided kernel sees only what the stride keeps. Slicing, since
        # the gradient of a strided 1x1 convolution of few channels writes beyond its memory
        # (TensorFlow 2.21 with oneDNN on AVX-512).
        sizes = zip(self.kernel_size, self.strides, strict=True)
        skipped, strides = zip(*((s, 1) if size == 1 else (1, s) for size, s in sizes), strict=True)
        x = inputs
        if max(skipped) > 1:
            x = x[:, :: skipped[0], :: skipped[1], :: skipped[2]]
        frames, height, width, channels = x.shape[1:]
        if self.kernel_size == (1, 1, 1):
            x = ops.matmul(ops.reshape(x, (-1, channels)), kernel[0, 0, 0])
            return ops.reshape(x, (-1, frames, height, width, self.filters))
        if span > 1:
            x = ops.reshape(x, (-1, frames, height * width, channels))
            x = self._convolved(x, kernel[:, 0], (strides[0], 1), (self.dilation_rate[0], 1))
            return ops.reshape(x, (-1, x.shape[1], height, width, self.filters))
        x = ops.reshape(x, (-1, height, width, channels))
        x = self._convolved(x, kernel[0], strides[1:], self.dilation_rate[1:])
        return ops.reshape(x, (-1, frames, *x.shape[1:]))

    def _convolved(self, x, kernel, strides, dilation):
        return ops.conv(x, kernel, tuple(strides), self.padding, dilation_rate=tuple(dilation))
