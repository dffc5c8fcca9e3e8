"""Layers that never look ahead, so that a model of them can read a video frame by frame."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from kinoflow.models.layers.frames import register
from kinoflow.video.spec import Frames


class Causal(layers.Layer):
    """A layer on clips (B, T, ...) that can also go on from where it was, by way of a state."""

    def state_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The state's shape without B, for inputs of `shape`; it starts as zeros."""
        raise NotImplementedError

    def step(self, x: Any, state: Any) -> tuple[Any, Any]:
        """The output for the next frames, and the state after them."""
        raise NotImplementedError

    def call(self, x):
        start = ops.zeros((ops.shape(x)[0], *self.state_shape(x.shape)), dtype=x.dtype)
        return self.step(x, start)[0]


@register
class CausalDifferences(Causal):
    """Each frame's change since the frame before, (B, T, H, W, C); the first frame's is zero."""

    def state_shape(self, shape):
        # the last frame, and a channel that says that there was one
        return (1, *shape[2:-1], shape[-1] + 1)

    def step(self, x, state):
        before = ops.concatenate([state, _flagged(x)], axis=1)
        change = x - before[:, :-1, ..., :-1]
        return change * before[:, :-1, ..., -1:], before[:, -1:]

    def compute_output_shape(self, shape):
        return shape


def _flagged(x):
    return ops.concatenate([x, ops.ones_like(x[..., :1])], axis=-1)


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
        frames = x.shape[1]
        known = ops.concatenate([state, x], axis=1)
        taps = [known[:, tap : tap + frames] * self.kernel[tap] for tap in range(self.span)]
        return sum(taps[1:], taps[0]), known[:, frames:]

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return super().get_config() | {"span": self.span}


@register
class CausalMean(Causal):
    """The mean over space and all frames so far: (B, T, H, W, C) to (B, T, C)."""

    def state_shape(self, shape):
        # the sum so far, and how many frames it is of
        return (1, shape[-1] + 1)

    def step(self, x, state):
        sums = ops.cumsum(_flagged(ops.mean(x, axis=(2, 3))), axis=1) + state
        return sums[..., :-1] / sums[..., -1:], sums[:, -1:]

    def compute_output_shape(self, shape):
        return (*shape[:2], shape[-1])


class _Step(layers.Layer):
    """A causal layer as one with a state: (x, state) to (output, state)."""

    def __init__(self, layer: Causal):
        super().__init__(dtype=layer.dtype_policy)
        self.layer = layer

    def call(self, x, state):
        return self.layer.step(x, state)

    def compute_output_spec(self, x, state):
        shape = self.layer.compute_output_shape(x.shape)
        return (
            keras.KerasTensor(shape, self.compute_dtype),
            keras.KerasTensor(state.shape, state.dtype),
        )


def streaming(model: keras.Model) -> keras.Model:
    """A model of causal layers as one from [frame, *states] to [probabilities, *states].

    It shares the weights. The frame is uint8 (B, 1, H, W, 3); the states start as zeros. Raises
    ValueError for a model without causal layers.
    """
    frame = keras.Input((1, *model.input_shape[2:]), dtype="uint8", name="frame")
    states, after = [], []

    def call(layer: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if not isinstance(layer, Causal):
            return layer(*arguments, **options)
        [x] = arguments
        states.append(keras.Input(layer.state_shape(x.shape), dtype=layer.compute_dtype))
        output, state = _Step(layer)(x, states[-1])
        after.append(state)
        return output

    # what keras.models.clone_model does, which would make a model of the frame alone
    answer = model._run_through_graph(frame, operation_fn=lambda layer: layer, call_fn=call)
    if not states:
        raise ValueError(f"{model.name} has no causal layers: it cannot answer frame by frame")
    return keras.Model([frame, *states], [answer, *after])


class Stream:
    """A streaming model with its state: one answer per frame, over all frames so far.

    After the frames of a clip its answer is the model's to that clip.
    """

    def __init__(self, model: keras.Model) -> None:
        self._step = streaming(model)
        self.reset()

    def reset(self) -> None:
        """Forget all frames: the next one is the first of another video."""
        self._states = [
            np.zeros((1, *state.shape[1:]), keras.backend.standardize_dtype(state.dtype))
            for state in self._step.inputs[1:]
        ]

    def __call__(self, frame: Frames) -> NDArray[np.float32]:
        """Probabilities float32 (classes,) after the frame uint8 (H, W, 3)."""
        answer, *self._states = self._step.predict_on_batch([frame[None, None], *self._states])
        return np.asarray(answer[0], dtype=np.float32)
