"""Layers that round as int8 does while they are trained, and gradients that pass by that."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kinoflow.models.layers.attention import AttentionAlong
from kinoflow.models.layers.causal import CausalConvolution
from kinoflow.models.layers.convlstm import ConvLSTM2D
from kinoflow.models.layers.depthwise import DepthwiseConv3D
from kinoflow.video.spec import Frames

_TINY = 1e-12
_STATE = 1 / 127  # the step of recurrent states: they are products of tanh, from -1 to 1
_KERNEL = 63  # steps to the largest weight: OpenVINO and ONNX Runtime take 7 bits for weights


def rounded(x: Any, step: Any, lowest: Any, highest: Any) -> Any:
    """x as int8 keeps it: the nearest multiple of a step between two of them.

    Gradients pass as if nothing were rounded, and not at all where x lies beyond (the
    straight-through estimator of Bengio et al., "Estimating or Propagating Gradients Through
    Stochastic Neurons for Conditional Computation", 2013).

    Args:
        x: any tensor.
        step: what numbers are multiples of, broadcast against x.
        lowest, highest: how many steps the smallest and the largest number are.
    """
    inside = ops.clip(x, lowest * step, highest * step)
    return inside + ops.stop_gradient(ops.round(inside / step) * step - inside)


class _RoundsState:
    """A cell of a recurrent layer whose state, the first one, is rounded before it is used."""

    def call(self, inputs: Any, states: Sequence[Any], training: bool = False) -> Any:
        hidden, *others = states if isinstance(states, list | tuple) else (states,)
        hidden = rounded(hidden, _STATE, -128, 127)
        return super().call(inputs, [hidden, *others], training=training)  # type: ignore[misc]


class _LSTMCell(_RoundsState, layers.LSTMCell):
    pass


class _GRUCell(_RoundsState, layers.GRUCell):
    pass


class _SimpleRNNCell(_RoundsState, layers.SimpleRNNCell):
    pass


class _ConvLSTM2D(ConvLSTM2D):
    def _remembered(self, hidden: Any) -> Any:
        return super()._remembered(rounded(hidden, _STATE, -128, 127))


_CELLS: dict[type, Any] = {
    layers.LSTM: _LSTMCell,
    layers.GRU: _GRUCell,
    layers.SimpleRNN: _SimpleRNNCell,
}
_ROUNDED = (
    *(layers.Conv2D, layers.Conv3D, layers.DepthwiseConv2D, layers.Dense, layers.EinsumDense),
    *(AttentionAlong, CausalConvolution, ConvLSTM2D, DepthwiseConv3D, *_CELLS),
)
_DEPTHWISE = (layers.DepthwiseConv2D, DepthwiseConv3D)  # their channels are the last but one axis


class Rounded(layers.Wrapper):
    """A layer that takes rounded values and has rounded kernels, one range for each channel.

    What it takes has one range, from clips that `fit` is shown: it is symmetric, or begins at 0
    where nothing is below, as NNCF has it.

    Args:
        layer: one that int8 computes otherwise: a convolution, a dense or a recurrent layer.
    """

    def __init__(self, layer: layers.Layer, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        self.seen: list[tuple[float, float]] | None = None  # lowest and highest, of each clip

    def build(self, shape: Any = None) -> None:
        super().build(shape)
        self.step = self.add_weight(shape=(), initializer="ones", trainable=False, name="step")
        self.lowest = self.add_weight(shape=(), initializer="zeros", trainable=False, name="lowest")

    def call(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        if self.seen is not None:
            self.seen.append((float(ops.min(x)), float(ops.max(x))))
            return self.layer(x, *args, **kwargs)
        highest = self.lowest + 255
        x = rounded(x, *(ops.cast(each, x.dtype) for each in (self.step, self.lowest, highest)))
        kernels = [each for each in self.layer.trainable_variables if "kernel" in each.name]
        shown = [(kernel, self._rounded_kernel(kernel)) for kernel in kernels]
        with keras.StatelessScope(state_mapping=shown) as scope:
            y = self.layer(x, *args, **kwargs)
        for state in self.layer.non_trainable_variables:  # random numbers advance
            changed = scope.get_current_value(state)
            if changed is not None:
                state.assign(changed)
        return y

    def _rounded_kernel(self, kernel: Any) -> Any:
        channels = len(kernel.shape) - 1 - isinstance(self.layer, _DEPTHWISE)
        others = [axis for axis in range(len(kernel.shape)) if axis != channels]
        largest = ops.max(ops.abs(kernel), axis=others, keepdims=True)
        step = ops.stop_gradient(ops.maximum(largest, _TINY) / _KERNEL)
        return rounded(kernel, step, -_KERNEL, _KERNEL)

    def fitted(self) -> None:
        """Take the mean range of the clips that were seen."""
        assert self.seen
        low, high = np.mean(self.seen, axis=0)
        self.lowest.assign(-128.0 if low < 0 else 0.0)
        self.step.assign(max(max(-low, high) / (127 if low < 0 else 255), _TINY))
        self.seen = None

    def compute_output_spec(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return self.layer.compute_output_spec(x, *args, **kwargs)


def rounding(model: keras.Model) -> keras.Model:
    """A model of the same layers and weights that rounds as int8 does; `fit` it before use."""
    network = keras.models.clone_model(model, clone_function=_rounding_layer, recursive=True)
    copy_weights(model, network)
    return network


def fit(network: keras.Model, clips: Frames) -> None:
    """Find the ranges of a model of `rounding` from clips (N, T, H, W, 3), one by one."""
    found = [layer for layer, _ in _pairs(network, network) if isinstance(layer, Rounded)]
    for layer in found:
        layer.seen = []
    for clip in clips:
        network(clip[None], training=False)
    for layer in found:
        layer.fitted()


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy weights between a model and its `rounding`, in either direction."""
    for one, other in _pairs(source, target):
        _inner(other).set_weights(_inner(one).get_weights())


def _rounding_layer(layer: layers.Layer) -> layers.Layer:
    config, kind = layer.get_config(), type(layer)
    if not isinstance(layer, _ROUNDED):
        return kind.from_config(config)
    if isinstance(layer, ConvLSTM2D):
        kind = _ConvLSTM2D
    copy = kind.from_config(config)
    if cell := _CELLS.get(type(layer)):
        copy.cell = cell.from_config(copy.cell.get_config())
    return Rounded(copy, name=f"rounded_{layer.name}")


def _inner(layer: layers.Layer) -> layers.Layer:
    return layer.layer if isinstance(layer, Rounded) else layer


def _pairs(one: Any, other: Any) -> Iterator[tuple[layers.Layer, layers.Layer]]:
    """The layers of two models of the same architecture, those of models inside them, too."""
    for first, second in zip(one.layers, other.layers, strict=True):
        if isinstance(first, keras.Model):
            yield from _pairs(first, second)
        else:
            yield first, second
