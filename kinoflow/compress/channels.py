"""Which channels of a network belong together, so that one cannot go without the others.

Every channel that a layer makes gets a number. The numbers travel along the network as the values
do, and channels that meet become one: those that are added, those of a depthwise convolution and of
the layer before it, the four gates of a recurrent unit. Fang et al., "DepGraph: Towards Any
Structural Pruning" (CVPR 2023), who follow pairs of layers instead. `channel_rules` says what each
kind of layer does.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
import numpy as np
from keras import tree
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Channels:
    """What is known of a tensor: its shape, and the numbers of the channels on its last axis."""

    spec: keras.KerasTensor
    numbers: Numbers


@dataclass(frozen=True)
class Axis:
    """An axis of a layer's weight, and the channel that each place along it belongs to.

    `role` says what a place does: it makes values of the channel, takes them from it, or keeps
    statistics of it.
    """

    layer: keras.layers.Layer
    weight: int  # its index in the layer's weights
    axis: int
    numbers: Numbers
    role: Literal["makes", "takes", "keeps"]


@dataclass(frozen=True)
class Group:
    """Channels of which any may go, as far as group normalisation allows.

    `parts` are the groups that normalisation forms of them, one number a channel: those that stay
    have to be equally many in each part that is not empty. Without normalisation, each channel is
    a part of its own.
    """

    channels: Numbers
    parts: Numbers


Resize = Callable[[Callable[[Numbers], NDArray[np.bool_]]], dict[str, Any]]
Rule = Callable[["Graph", Any, Any], Numbers | None]


@dataclass
class Graph:
    """The channels of a model; made by `traced`."""

    axes: list[Axis] = field(default_factory=list)
    # what a layer's configuration becomes, given which of some numbers stay
    resized: dict[int, Resize] = field(default_factory=dict)  # by the id of the layer
    _same: list[int] = field(default_factory=list)  # union-find over numbers
    _made: list[int] = field(default_factory=list)  # which layer made a number, counted
    _kept: set[int] = field(default_factory=set)
    _tied: list[Numbers] = field(default_factory=list)
    _normalised: list[tuple[Numbers, int]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return len(self._same)

    def new(self, count: int, *, kept: bool = False) -> Numbers:
        """Numbers for channels that a layer makes; with `kept`, they never go."""
        start = len(self._same)
        self._same.extend(range(start, start + count))
        self._made.extend([start] * count)
        numbers = np.arange(start, start + count)
        if kept:
            self.keep(numbers)
        return numbers

    def keep(self, numbers: Numbers) -> None:
        """These channels never go."""
        self._kept.update(numbers.tolist())

    def join(self, one: Numbers, other: Numbers) -> None:
        """Each channel of one and the other, place by place, is one channel."""
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            first, second = sorted((self._root(a), self._root(b)))
            self._same[second] = first

    def normalise(self, numbers: Numbers, parts: int) -> None:
        """These channels are normalised in `parts` groups of equal size."""
        self._normalised.append((numbers, parts))
        self._tied.append(numbers)

    def roots(self, numbers: Numbers) -> Numbers:
        """One number for all that are the same channel."""
        return np.array([self._root(number) for number in numbers.tolist()], dtype=np.int64)

    def summed(self, axis: Axis, value: NDArray) -> NDArray[np.float64]:
        """The sum of a weight's elements, or of what each of them counts, for each number."""
        others = tuple(each for each in range(value.ndim) if each != axis.axis)
        sums = np.zeros(self.count)
        np.add.at(sums, self.roots(axis.numbers), value.sum(axis=others, dtype=np.float64))
        return sums

    def _root(self, number: int) -> int:
        while self._same[number] != number:
            self._same[number] = self._same[self._same[number]]
            number = self._same[number]
        return number

    def groups(self) -> list[Group]:
        """The groups that can lose channels, each of two or more, in the order of the network."""
        roots = self.roots(np.arange(len(self._same)))
        kept = {int(roots[number]) for number in self._kept}
        layer_of = np.arange(len(roots))  # union-find over the layers that made the channels

        def find(layer: int) -> int:
            while layer_of[layer] != layer:
                layer = int(layer_of[layer])
            return layer

        def unite(numbers: Numbers) -> None:
            found = sorted({find(self._made[number]) for number in numbers.tolist()})
            for other in found[1:]:
                layer_of[other] = found[0]

        for number, root in enumerate(roots.tolist()):
            unite(np.array([number, root]))
        for numbers in self._tied:
            unite(numbers)
        members: dict[int, list[int]] = {}
        for root in np.unique(roots).tolist():
            members.setdefault(find(self._made[root]), []).append(root)
        groups = [self._group(np.array(each), kept) for each in members.values()]
        return [group for group in groups if group is not None]

    def _group(self, channels: Numbers, kept: set[int]) -> Group | None:
        free = np.array([channel not in kept for channel in channels.tolist()])
        parts = channels
        for numbers, count in self._normalised:
            places = {root: place for place, root in enumerate(self.roots(numbers).tolist())}
            if not places.keys() & set(channels.tolist()):
                continue
            size = len(numbers) // count
            found = np.array([places.get(channel, -1) // size for channel in channels.tolist()])
            # all of a normalisation's channels, once each, and all normalisations alike
            whole = len(places) == len(numbers) == len(channels) and free.all()
            agree = parts is channels or np.array_equal(found, parts)
            if not whole or not agree:
                return None
            parts = found
        if free.sum() < 2:
            return None
        return Group(channels[free], parts[free])


def traced(model: keras.Model, rules: Callable[[Any], Rule]) -> Graph:
    """Follow the channels of a model from its input to its output.

    Args:
        model: a functional model, uint8 (B, T, H, W, 3) to float32 (B, classes).
        rules: what a layer does with channels: a function of the graph, the layer, and its first
            argument, one `Channels` or a list of them. It returns the numbers of the output's last
            axis, or None for a layer that it does not know.
    """
    graph = Graph()

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Model):
            # Keras has no public way to run what is no tensor through a network
            return layer._run_through_graph(args[0], lambda each: each, call_fn=call)
        given = tree.map_structure(_spec, (args, kwargs))
        spec = layer.compute_output_spec(*given[0], **given[1])
        plain = len(args) == 1 and not kwargs.keys() - {"mask", "training"}
        numbers = rules(layer)(graph, layer, args[0]) if plain else None
        if numbers is not None:
            return Channels(spec, numbers)
        for each in tree.flatten((args, kwargs)):
            if isinstance(each, Channels):
                graph.keep(each.numbers)
        return tree.map_structure(
            lambda one: Channels(one, graph.new(one.shape[-1] or 1, kept=True)), spec
        )

    (clip,) = model.inputs
    start = Channels(clip, graph.new(clip.shape[-1], kept=True))
    end = model._run_through_graph(start, lambda each: each, call_fn=call)
    for each in tree.flatten(end):
        graph.keep(each.numbers)
    return graph


def _spec(each: Any) -> Any:
    return each.spec if isinstance(each, Channels) else each
