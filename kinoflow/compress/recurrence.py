"""Recurrent layers that multiply all frames' inputs by their weights at once, for export.

A cell multiplies the features of one frame after the other: in a form, which answers one clip at a
time, that reads all weights for every frame. Here one product of all frames comes first, and the
steps have the small product of the state left (Appleyard et al., "Optimizing Performance of
Recurrent Neural Networks on GPUs", 2016). Weights and answers are those of Keras' layers.
"""

from typing import Any

import keras
from keras import layers, ops


class _LSTMSteps(layers.LSTMCell):
    """`keras.layers.LSTMCell` from a frame's product with the weights."""

    def call(self, product, states, training=False):
        hidden, carry = states
        product = product + ops.matmul(hidden, self.recurrent_kernel)
        keep_in, keep, new, show = ops.split(product, 4, axis=-1)
        carry = self.recurrent_activation(keep) * carry + (
            self.recurrent_activation(keep_in) * self.activation(new)
        )
        hidden = self.recurrent_activation(show) * self.activation(carry)
        return hidden, [hidden, carry]


class _GRUSteps(layers.GRUCell):
    """`keras.layers.GRUCell`, reset after its product, from a frame's product with the weights."""

    def call(self, product, states, training=False):
        (hidden,) = states
        update, reset, new = ops.split(product, 3, axis=-1)
        before = ops.matmul(hidden, self.recurrent_kernel)
        if self.use_bias:
            before = before + self.bias[1]
        update_before, reset_before, new_before = ops.split(before, 3, axis=-1)
        update = self.recurrent_activation(update + update_before)
        reset = self.recurrent_activation(reset + reset_before)
        new = self.activation(new + reset * new_before)
        hidden = update * hidden + (1.0 - update) * new
        return hidden, [hidden]


class _SimpleRNNSteps(layers.SimpleRNNCell):
    """`keras.layers.SimpleRNNCell` from a frame's product with the weights."""

    def call(self, product, states, training=False):
        hidden = self.activation(product + ops.matmul(states[0], self.recurrent_kernel))
        return hidden, [hidden]


class _InOneProduct(layers.RNN):
    """The part that the layers below share: the product, then the steps."""

    steps: Any  # the class of the cell
    cell: Any

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.cell = self.steps.from_config(self.cell.get_config())

    def call(self, sequences, initial_state=None, mask=None, training=False):
        product = ops.matmul(sequences, self.cell.kernel)
        if self.cell.use_bias:
            product = product + self.input_bias
        return layers.RNN.call(self, product, initial_state, mask, training)

    # Keras' own hands the weights to cuDNN where it can
    inner_loop = layers.RNN.inner_loop

    @property
    def input_bias(self):
        """What is added to the product of each frame, (units of all gates,)."""
        return self.cell.bias


class LSTMInOneProduct(_InOneProduct, layers.LSTM):
    """`keras.layers.LSTM`."""

    steps = _LSTMSteps


class GRUInOneProduct(_InOneProduct, layers.GRU):
    """`keras.layers.GRU` with `reset_after`, as it is by default."""

    steps = _GRUSteps

    @property
    def input_bias(self):
        return self.cell.bias[0]


class SimpleRNNInOneProduct(_InOneProduct, layers.SimpleRNN):
    """`keras.layers.SimpleRNN`."""

    steps = _SimpleRNNSteps


def in_one_product(layer: keras.Layer) -> type[layers.RNN] | None:
    """The class that computes as a layer does, with one product; None: there is none."""
    if type(layer) is layers.GRU and not layer.reset_after:
        return None
    return _CLASSES.get(type(layer))


_CLASSES: dict[type[keras.Layer], type[layers.RNN]] = {
    layers.LSTM: LSTMInOneProduct,
    layers.GRU: GRUInOneProduct,
    layers.SimpleRNN: SimpleRNNInOneProduct,
}
