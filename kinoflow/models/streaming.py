"""Reading a video frame by frame with a model of causal layers, in constant memory."""

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from kinoflow.models.layers.base import Causal
from kinoflow.video.spec import Frames


def can_stream(model: keras.Model) -> bool:
    """Whether the model can read a video frame by frame: whether it has causal layers."""
    return any(isinstance(layer, Causal) for layer in model.layers)


class Stream:
    """A model that reads videos frame by frame, and answers after each for all frames so far.

    After the frames of a clip its answer is the model's answer to that clip.

    Args:
        model: a model of causal layers, uint8 (B, T, H, W, 3) to float32 (B, classes). Its weights
            are shared, not copied.
        videos: how many are read side by side.

    Raises ValueError for a model without causal layers.
    """

    def __init__(self, model: keras.Model, videos: int = 1) -> None:
        if not can_stream(model):
            raise ValueError(f"{model.name} has no causal layers: it cannot answer frame by frame")
        shape = (videos, 1, *model.input_shape[2:])
        frame = keras.Input(batch_shape=shape, dtype="uint8", name="frame")
        self._model = keras.models.clone_model(
            model, input_tensors=frame, clone_function=_with_state
        )
        self._steps = [layer for layer in self._model.layers if isinstance(layer, _Step)]
        self._videos = np.arange(videos)

    def reset(self, videos: slice = slice(None)) -> None:
        """Forget all frames of some videos: the next ones are the first of others."""
        forgotten = np.isin(self._videos, self._videos[videos])
        for step in self._steps:
            step.reset(forgotten)

    def __call__(self, frames: Frames) -> NDArray[np.float32]:
        """Probabilities float32 (videos, classes) after frames uint8 (videos, H, W, 3)."""
        return np.asarray(self._model.predict_on_batch(frames[:, None]), dtype=np.float32)


class _Step(layers.Layer):
    """A causal layer that goes on from the frames before, as kept in its state."""

    def __init__(self, layer: Causal):
        super().__init__(dtype=layer.dtype_policy)
        self.layer = layer

    def build(self, shape):
        self.state = self.add_weight(
            shape=(shape[0], *self.layer.state_shape(shape)),
            initializer="zeros",
            dtype=self.compute_dtype,
            trainable=False,
            name="state",
        )

    def reset(self, forgotten: NDArray[np.bool_]) -> None:
        """Make the state zero where `forgotten` (B,) is true."""
        forgotten = forgotten.reshape(-1, *(1 for _ in self.state.shape[1:]))
        self.state.assign(ops.where(forgotten, 0, self.state))

    def call(self, x):
        output, state = self.layer.step(x, self.state.value)
        self.state.assign(state)
        return output

    def compute_output_shape(self, shape):
        return self.layer.compute_output_shape(shape)


def _with_state(layer: layers.Layer) -> layers.Layer:
    return _Step(layer) if isinstance(layer, Causal) else layer
