"""What kinoflow's own layers build on: their registration with Keras, and two base classes."""

from typing import Any

import keras
from keras import layers, ops

# Every layer of kinoflow has this decorator: Keras' safe mode loads only registered classes.
register = keras.saving.register_keras_serializable("kinoflow")


class TakesMask(layers.Layer):
    """A layer that takes the mask of frames as an argument, and passes no mask on to Keras."""

    def compute_mask(self, inputs, previous_mask=None):
        return None


class Causal(layers.Layer):
    """A layer on clips (B, T, ...) that never looks ahead.

    So it can read a video piece by piece: a state holds what it needs of the frames before. See
    `kinoflow.models.streaming`.
    """

    def state_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The state's shape without B, for inputs of `shape`; the state starts as zeros."""
        raise NotImplementedError

    def step(self, x: Any, state: Any) -> tuple[Any, Any]:
        """The output for the next frames (B, T, ...), and the state after them."""
        raise NotImplementedError

    def call(self, x):
        start = ops.zeros((ops.shape(x)[0], *self.state_shape(x.shape)), dtype=x.dtype)
        return self.step(x, start)[0]


def with_ones(x):
    """(..., C) to (..., C + 1): a last channel of ones, which an initial state of zeros lacks."""
    return ops.concatenate([x, ops.ones_like(x[..., :1])], axis=-1)
