"""Read videos frame by frame with a causal model, in constant memory."""

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from kinoflow.models.layers.base import Causal
from kinoflow.models.layers.clip import Pixels
from kinoflow.models.layers.depthwise import DepthwiseConv3D
from kinoflow.models.layers.pooling import LastFrame
from kinoflow.video.spec import Frames

# layers whose output for a frame depends only on that frame, in the way causal models use them
_PER_FRAME = (
    Pixels,
    LastFrame,
    layers.Activation,
    layers.Add,
    layers.BatchNormalization,
    layers.Concatenate,
    layers.Dense,
    layers.Dropout,
    layers.InputLayer,
    layers.Multiply,
    layers.Reshape,
)


def can_stream(model: keras.Model) -> bool:
    """Whether the model can read a video frame by frame, because no layer needs later frames."""
    return _not_causal(model) is None


def _not_causal(model: keras.Model) -> layers.Layer | None:
    """The first layer that combines several frames without being causal; None if there is none."""
    return next((layer for layer in model.layers if not _is_causal(layer)), None)


def _is_causal(layer: layers.Layer) -> bool:
    if isinstance(layer, layers.Conv3D | DepthwiseConv3D):
        return bool(layer.kernel_size[0] == layer.strides[0] == 1)
    return isinstance(layer, (Causal, *_PER_FRAME))


class Stream:
    """A model that reads videos frame by frame, and predicts after each from all frames so far.

    After all frames of a clip its prediction is the model's prediction for that clip.

    Args:
        model: a causal model, uint8 (B, T, H, W, 3) to float32 (B, classes). Its weights are
            shared, not copied.
        videos: how many videos are read side by side.

    Raises ValueError for a model with a layer that is not causal.
    """

    def __init__(self, model: keras.Model, videos: int = 1) -> None:
        if (layer := _not_causal(model)) is not None:
            raise ValueError(
                f"{model.name} cannot answer frame by frame: its layer {layer.name} is not causal"
            )
        shape = (videos, 1, *model.input_shape[2:])
        frame = keras.Input(batch_shape=shape, dtype="uint8", name="frame")
        self._model = keras.models.clone_model(
            model, input_tensors=frame, clone_function=_with_state
        )
        self._stateful = [
            layer for layer in self._model.layers if isinstance(layer, _StatefulLayer)
        ]
        self._videos = np.arange(videos)

    def reset(self, videos: slice = slice(None)) -> None:
        """Forget all frames of some videos, so that other videos can begin in their place."""
        forgotten = np.isin(self._videos, self._videos[videos])
        for layer in self._stateful:
            layer.reset(forgotten)

    def __call__(self, frames: Frames) -> NDArray[np.float32]:
        """Probabilities float32 (videos, classes) after frames uint8 (videos, H, W, 3)."""
        return np.asarray(self._model.predict_on_batch(frames[:, None]), dtype=np.float32)


class _StatefulLayer(layers.Layer):
    """A causal layer that keeps its state from one call to the next."""

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
    return _StatefulLayer(layer) if isinstance(layer, Causal) else layer
