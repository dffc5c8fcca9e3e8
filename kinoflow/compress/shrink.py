"""Take whole channels out of a network: which, by what they are worth, and the network without.

`kinoflow.compress.channels` knows which channels go together.
"""

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from kinoflow.compress.channel_rules import rule_of
from kinoflow.compress.channels import Graph, Group, Numbers, traced


def channels_of(model: keras.Model) -> Graph:
    """Which channels of a model go together; see `kinoflow.compress.channels.traced`."""
    return traced(model, rule_of)


def spared(group: Group, value: NDArray[np.float64], count: int) -> Numbers:
    """The channels of a group that stay: about `count`, at least one, worth the most together.

    Those that share a normalisation lose as many each, or all: whichever comes nearest to `count`,
    and among those, what keeps the most.

    Args:
        group: of which channels go.
        value: what each number is worth.
        count: how many are to stay.
    """
    members = [group.channels[group.parts == part] for part in np.unique(group.parts)]
    members = [each[np.argsort(-value[each], kind="stable")] for each in members]
    best: tuple[int, float] | None = None
    chosen = group.channels
    for size in range(1, len(members[0]) + 1):
        sums = np.array([value[each[:size]].sum() for each in members])
        for parts in {max(1, count // size), min(len(members), -(-count // size))}:
            if parts > len(members):
                continue
            most = np.argsort(-sums, kind="stable")[:parts]
            rank = (abs(parts * size - count), -float(sums[most].sum()))
            if best is None or rank < best:
                best, chosen = rank, np.concatenate([members[each][:size] for each in most])
    return np.sort(chosen)


def without(model: keras.Model, graph: Graph, gone: Numbers) -> keras.Model:
    """The network without some channels: layers with fewer, and the weights that are left.

    Args:
        model: of which channels go; it is left as it is.
        graph: its channels.
        gone: which go, numbers of `Group.channels`.
    """

    def stays(numbers: Numbers) -> NDArray[np.bool_]:
        return ~np.isin(graph.roots(numbers), gone)

    pairs: list[tuple[layers.Layer, layers.Layer]] = []

    def smaller(layer: layers.Layer) -> layers.Layer:
        config = layer.get_config()
        if id(layer) in graph.resized:
            config |= graph.resized[id(layer)](stays)
        pairs.append((layer, type(layer).from_config(config)))
        return pairs[-1][1]

    network = keras.models.clone_model(model, clone_function=smaller, recursive=True)
    cut: dict[tuple[int, int], list[tuple[int, Numbers]]] = {}
    for axis in graph.axes:
        left = np.flatnonzero(stays(axis.numbers))
        cut.setdefault((id(axis.layer), axis.weight), []).append((axis.axis, left))
    for old, new in pairs:
        values = [ops.convert_to_numpy(weight) for weight in old.weights]
        for index, value in enumerate(values):
            for along, left in cut.get((id(old), index), []):
                value = value.take(left, axis=along)  # noqa: PLW2901
            values[index] = value
        new.set_weights(values)
    return network
