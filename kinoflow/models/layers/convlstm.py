"""Convolutional LSTM that convolves all frames at once where it can."""

import math

from keras import layers, ops

from kinoflow.models.layers.base import register


@register
class ConvLSTM2D(layers.ConvLSTM2D):
    """`keras.layers.ConvLSTM2D` on (B, T, H, W, C), in a fraction of its convolutions.

    One convolution sees the input of all frames and gates, and one more per frame the state, where
    Keras has eight per frame. Weights, arguments and results are Keras' own, but for dropout: the
    four gates share one mask for a whole clip, the tied weights of Gal and Ghahramani, "A
    Theoretically Grounded Application of Dropout in Recurrent Neural Networks" (NeurIPS 2016),
    where Keras draws a mask for each gate.

    Args: those of `keras.layers.ConvLSTM2D`, with the channels last. The number of frames has to be
        known, and Keras' masks of frames are not taken.
    """

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        self.cell.dropout_mask_count = 1

    def inner_loop(self, sequences, initial_state, mask, training=False):
        if mask is not None:
            raise ValueError(f"{self.name} takes no mask of frames")
        hidden, memory = initial_state
        kept = None
        if training and 0 < self.recurrent_dropout < 1:
            (kept,) = self.cell.get_recurrent_dropout_mask(hidden)
        frames = ops.unstack(self._seen(sequences, training), axis=1)
        if self.go_backwards:
            frames.reverse()
        outputs = []
        for seen in frames:
            remembered = self._remembered(hidden if kept is None else hidden * kept)
            gates = ops.split(seen + remembered, 4, axis=-1)
            admit, keep, show = (self.recurrent_activation(gates[i]) for i in (0, 1, 3))
            memory = keep * memory + admit * self.activation(gates[2])
            hidden = show * self.activation(memory)
            outputs.append(hidden)
        # Keras reads the outputs only where it returns sequences
        sequence = ops.stack(outputs, axis=1) if self.return_sequences else hidden
        return hidden, sequence, [hidden, memory]

    def _seen(self, clips, training: bool):
        """What the gates take from each frame: (B, T, H, W, C) to (B, T, H', W', 4 filters)."""
        if training and 0 < self.dropout < 1:
            (kept,) = self.cell.get_dropout_mask(clips[:, 0])
            clips = clips * kept[:, None]
        frames, *image = clips.shape[1:]
        x = ops.conv(
            ops.reshape(clips, (-1, *image)),
            self.cell.kernel,
            self.strides,
            self.padding,
            dilation_rate=self.dilation_rate,
        )
        if self.use_bias:
            x = x + self.cell.bias
        return ops.reshape(x, (-1, frames, *x.shape[1:]))

    def _remembered(self, hidden):
        """What the gates take from the state: (B, H', W', filters) to (B, H', W', 4 filters)."""
        kernel = self.cell.recurrent_kernel
        if math.prod(hidden.shape[1:3]) > 1:
            return ops.conv(hidden, kernel, padding="same")
        # a single pixel meets only one of the kernel's, whose others TensorFlow would multiply too
        height, width = self.kernel_size
        return ops.matmul(hidden, kernel[(height - 1) // 2, (width - 1) // 2])
