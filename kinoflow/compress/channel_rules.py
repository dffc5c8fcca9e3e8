"""What each kind of layer does with channels, for `kinoflow.compress.channels`.

A rule names the axes of the layer's weights that belong to channels, says what its configuration
becomes when channels go, and returns the numbers of its output's channels. A layer without a rule
keeps all of its channels, and those of its inputs.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from kinoflow.compress.channels import Axis, Channels, Graph, Numbers, Rule
from kinoflow.models.layers.attention import AttentionAlong, Position
from kinoflow.models.layers.causal import CausalConvolution, CausalMean
from kinoflow.models.layers.clip import FrameDifferences
from kinoflow.models.layers.depthwise import DepthwiseConv3D
from kinoflow.models.layers.folding import FoldTime, UnfoldTime
from kinoflow.models.layers.pooling import (
    AttentionPooling,
    LastFrame,
    LastHeld,
    MeanOverTime,
    MomentsOverTime,
    Vote,
)


def rule_of(layer: Any) -> Rule:
    """The rule of a layer's kind, or else one that knows nothing."""
    for kind, rule in _RULES:
        if isinstance(layer, kind):
            return rule
    return lambda graph, layer, x: None


# === Layers that leave channels as they are ===


def _same(graph: Graph, layer: Any, x: Channels) -> Numbers:
    return x.numbers


def _activation(graph: Graph, layer: Any, x: Channels) -> Numbers:
    if layer.activation in {keras.activations.softmax, keras.activations.log_softmax}:
        graph.keep(x.numbers)
    return x.numbers


def _all_at_once(graph: Graph, layer: Any, x: Channels) -> Numbers:
    """Normalisation over the channels: without one of them, all others would be different."""
    graph.keep(x.numbers)
    return x.numbers


def _permuted(graph: Graph, layer: Any, x: Channels) -> Numbers | None:
    return x.numbers if layer.dims[-1] == len(x.spec.shape) - 1 else None


# === Layers with a weight, or several, for each channel ===


def _batch_normalised(graph: Graph, layer: Any, x: Channels) -> Numbers | None:
    if not _on_last_axis(layer, x):
        return None
    learned = sum((layer.scale, layer.center))
    for index in range(len(layer.weights)):
        role = "makes" if index < learned else "keeps"
        graph.axes.append(Axis(layer, index, 0, x.numbers, role))  # type: ignore[arg-type]
    return x.numbers


def _group_normalised(graph: Graph, layer: Any, x: Channels) -> Numbers | None:
    if not _on_last_axis(layer, x):
        return None
    parts = layer.groups if layer.groups > 0 else len(x.numbers)
    graph.normalise(x.numbers, parts)
    for index in range(len(layer.weights)):
        graph.axes.append(Axis(layer, index, 0, x.numbers, "makes"))
    if layer.groups > 0:
        places = np.arange(len(x.numbers)) // (len(x.numbers) // parts)
        graph.resized[id(layer)] = lambda stays: {
            "groups": len(np.unique(places[stays(x.numbers)]))
        }
    return x.numbers


def _on_last_axis(layer: Any, x: Channels) -> bool:
    return layer.axis in {-1, len(x.spec.shape) - 1}


def _each_alone(axis: int) -> Rule:
    """One weight, one of whose axes is the channels."""

    def rule(graph: Graph, layer: Any, x: Channels) -> Numbers:
        graph.axes.append(Axis(layer, 0, axis, x.numbers, "makes"))
        return x.numbers

    return rule


def _depthwise(graph: Graph, layer: Any, x: Channels) -> Numbers | None:
    if layer.depth_multiplier != 1 or layer.data_format != "channels_last":
        return None
    for index, weight in enumerate(layer.weights):
        axis = 0 if len(weight.shape) == 1 else len(weight.shape) - 2
        graph.axes.append(Axis(layer, index, axis, x.numbers, "makes"))
    return x.numbers


# === Layers that make channels of others ===


def _mixing(option: str) -> Rule:
    """A kernel (..., C, new channels), and a bias; `option` is how many new ones there are."""

    def rule(graph: Graph, layer: Any, x: Channels) -> Numbers | None:
        if getattr(layer, "groups", 1) != 1:
            return None
        made = _made(graph, layer, getattr(layer, option), option)
        _kernel(graph, layer, 0, x.numbers, made)
        if layer.use_bias:
            graph.axes.append(Axis(layer, 1, 0, made, "makes"))
        if option == "units" and layer.activation is keras.activations.softmax:
            graph.keep(made)
        return made

    return rule


def _recurrent(option: str, gates: int) -> Rule:
    """Kernels from inputs and from states, (..., C, gates * units), and a bias."""

    def rule(graph: Graph, layer: Any, x: Channels) -> Numbers | None:
        if isinstance(x, list) or layer.return_state:
            return None
        made = _made(graph, layer, getattr(layer, option), option)
        gated = np.tile(made, gates)
        _kernel(graph, layer, 0, x.numbers, gated)
        _kernel(graph, layer, 1, made, gated)
        if layer.use_bias:
            last = len(layer.weights[2].shape) - 1  # a GRU has two rows of biases
            graph.axes.append(Axis(layer, 2, last, gated, "makes"))
        return made

    return rule


def _made(graph: Graph, layer: Any, count: int, option: str) -> Numbers:
    made = graph.new(count)
    graph.resized[id(layer)] = lambda stays: {option: int(stays(made).sum())}
    return made


def _kernel(graph: Graph, layer: Any, index: int, taken: Numbers, made: Numbers) -> None:
    last = len(layer.weights[index].shape) - 1
    graph.axes.append(Axis(layer, index, last - 1, taken, "takes"))
    graph.axes.append(Axis(layer, index, last, made, "makes"))


def _attention(graph: Graph, layer: AttentionAlong, x: Channels) -> Numbers:
    """Heads go as a whole: (D, heads, d) for queries, keys and values, (heads, d, D) back."""
    heads, made = graph.new(layer.heads), graph.new(len(x.numbers))
    for index in range(3):
        graph.axes.append(Axis(layer, index, 0, x.numbers, "takes"))
        graph.axes.append(Axis(layer, index, 1, heads, "makes"))
    graph.axes.append(Axis(layer, 3, 0, heads, "takes"))
    graph.axes.append(Axis(layer, 3, 2, made, "makes"))
    depth = layer.weights[0].shape[-1]
    graph.resized[id(layer)] = lambda stays: {
        "heads": int(stays(heads).sum()),
        "head_width": depth,
    }
    return made


def _attention_pooled(graph: Graph, layer: AttentionPooling, x: Channels) -> Numbers:
    """Its hidden units are as many as its inputs, so that one goes with the other."""
    _kernel(graph, layer, 0, x.numbers, x.numbers)
    graph.axes.append(Axis(layer, 1, 0, x.numbers, "makes"))
    graph.axes.append(Axis(layer, 2, 0, x.numbers, "takes"))
    return x.numbers


# === Layers that join tensors, or fold channels and places together ===


def _joined(graph: Graph, layer: Any, x: list[Channels]) -> Numbers | None:
    first, *others = x
    if any(each.spec.shape[-1] != first.spec.shape[-1] for each in others):
        return None
    for each in others:
        graph.join(first.numbers, each.numbers)
    return first.numbers


def _concatenated(graph: Graph, layer: Any, x: list[Channels]) -> Numbers | None:
    if not _on_last_axis(layer, x[0]):
        return _joined(graph, layer, x)
    return np.concatenate([each.numbers for each in x])


def _moments(graph: Graph, layer: Any, x: Channels) -> Numbers:
    return np.tile(x.numbers, 2)


def _flattened(graph: Graph, layer: Any, x: Channels) -> Numbers:
    return _folded(graph, x, layer.compute_output_shape(x.spec.shape)[-1])


def _reshaped(graph: Graph, layer: Any, x: Channels) -> Numbers:
    numbers = _folded(graph, x, layer.compute_output_shape(x.spec.shape)[-1])
    *sides, last = layer.target_shape
    if last != -1:
        graph.resized[id(layer)] = lambda stays: {
            "target_shape": (*sides, int(stays(numbers).sum()))
        }
    return numbers


def _folded(graph: Graph, x: Channels, size: int) -> Numbers:
    """The numbers of a last axis of `size`, for the same values in the same order."""
    count = len(x.numbers)
    if size % count == 0:  # places of a map, each with all channels
        return np.tile(x.numbers, size // count)
    if count % size == 0:
        for row in x.numbers.reshape(-1, size)[1:]:
            graph.join(x.numbers[:size], row)
        return x.numbers[:size]
    graph.keep(x.numbers)
    return graph.new(size, kept=True)


_UNCHANGED = (
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.Dropout,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
    layers.Identity,
    layers.LeakyReLU,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.ReLU,
    layers.UnitNormalization,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
    CausalMean,
    FoldTime,
    FrameDifferences,
    LastFrame,
    LastHeld,
    MeanOverTime,
    UnfoldTime,
    Vote,
)
# the first that fits counts
_RULES: list[tuple[Any, Callable[..., Numbers | None]]] = [
    (_UNCHANGED, _same),
    (layers.Activation, _activation),
    (layers.LayerNormalization, _all_at_once),
    (layers.Permute, _permuted),
    (layers.BatchNormalization, _batch_normalised),
    (layers.GroupNormalization, _group_normalised),
    (layers.DepthwiseConv2D, _depthwise),
    (DepthwiseConv3D, _each_alone(3)),
    (CausalConvolution, _each_alone(1)),
    (Position, _each_alone(3)),
    ((layers.Conv2D, layers.Conv3D), _mixing("filters")),
    (layers.Dense, _mixing("units")),
    (layers.LSTM, _recurrent("units", 4)),
    (layers.GRU, _recurrent("units", 3)),
    (layers.SimpleRNN, _recurrent("units", 1)),
    (layers.ConvLSTM2D, _recurrent("filters", 4)),
    (AttentionAlong, _attention),
    (AttentionPooling, _attention_pooled),
    (layers.Concatenate, _concatenated),
    (
        (layers.Add, layers.Average, layers.Maximum, layers.Multiply, layers.Subtract),
        _joined,
    ),
    (MomentsOverTime, _moments),
    (layers.Flatten, _flattened),
    (layers.Reshape, _reshaped),
]
