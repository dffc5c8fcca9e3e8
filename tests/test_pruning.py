"""Channels that go together, what a network is without some of them, and what it costs."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kinoflow.compress import shrink, sparse
from kinoflow.compress.channels import Group
from kinoflow.compress.counting import multiply_adds
from kinoflow.models.layers.attention import AttentionAlong
from kinoflow.models.layers.convlstm import ConvLSTM2D
from kinoflow.models.layers.normalisation import GroupNormalization


def network(shape: tuple[int, ...], body: Callable[[Any], Any]) -> keras.Model:
    x = keras.Input(shape)
    return keras.Model(x, body(x))


def sizes(model: keras.Model) -> list[int]:
    return [len(group.channels) for group in shrink.channels_of(model).groups()]


# === Which channels go together ===


def test_channels_that_are_added_go_together_and_others_alone() -> None:
    def body(x: Any) -> Any:
        x = layers.Conv2D(6, 3, padding="same")(x)
        y = layers.Conv2D(4, 1)(x)
        y = layers.Conv2D(6, 1)(layers.DepthwiseConv2D(3, padding="same")(y))
        x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
        return layers.Dense(3, activation="softmax")(x)

    model = network((8, 8, 3), body)
    assert sizes(model) == [6, 4]
    graph = shrink.channels_of(model)
    outer, inner = graph.groups()
    smaller = shrink.without(
        model, graph, np.concatenate([outer.channels[[0, 5]], inner.channels[:1]])
    )
    kernels = [weight.shape for weight in smaller.weights if len(weight.shape) > 1]
    assert kernels == [(3, 3, 3, 4), (1, 1, 4, 3), (3, 3, 3, 1), (1, 1, 3, 4), (4, 3)]


def test_a_concatenation_keeps_its_parts_apart_and_places_of_a_map_together() -> None:
    def body(x: Any) -> Any:
        x = layers.Concatenate()([layers.Conv2D(2, 1)(x), layers.Conv2D(3, 1)(x)])
        return layers.Dense(3, activation="softmax")(layers.Flatten()(x))

    model = network((4, 4, 3), body)
    graph = shrink.channels_of(model)
    two, three = graph.groups()
    assert (len(two.channels), len(three.channels)) == (2, 3)
    smaller = shrink.without(model, graph, np.append(two.channels[1:], three.channels[:1]))
    old, new = model.layers[-1].kernel, smaller.layers[-1].kernel
    left = np.reshape(old, (16, 5, 3))[:, [0, 3, 4]]
    np.testing.assert_array_equal(new, left.reshape(48, 3))


def test_what_normalises_over_channels_and_what_nobody_knows_keep_theirs() -> None:
    def body(x: Any) -> Any:
        x = layers.LayerNormalization()(layers.Dense(6)(x))
        x = layers.Softmax()(layers.Dense(5)(x))
        return layers.Dense(3, activation="softmax")(layers.Dense(4)(x))

    assert sizes(network((7,), body)) == [4]


def test_normalised_groups_stay_equal_in_size() -> None:
    model = network((4, 4, 3), lambda x: GroupNormalization(4)(layers.Conv2D(8, 1)(x)))
    model = keras.Model(model.input, layers.Dense(2)(layers.Flatten()(model.output)))
    graph = shrink.channels_of(model)
    (group,) = graph.groups()
    assert [int(count) for count in np.bincount(group.parts)] == [2, 2, 2, 2]
    value = np.zeros(graph.count)
    for worth, kept, groups in (
        ([5, 1, 1, 5, 5, 1, 1, 5], [0, 3, 4, 7], 4),  # one of each
        ([5, 5, 1, 1, 1, 1, 5, 5], [0, 1, 6, 7], 2),  # two wholly
    ):
        value[group.channels] = worth
        stay = shrink.spared(group, value, 4)
        assert [int(place) for place in np.searchsorted(group.channels, stay)] == kept
        smaller = shrink.without(model, graph, np.setdiff1d(group.channels, stay))
        assert smaller.layers[2].groups == groups
        assert smaller(np.ones((1, 4, 4, 3))).shape == (1, 2)


@pytest.mark.parametrize("count", range(1, 13))
def test_as_many_stay_as_normalisation_allows_and_always_some(count: int) -> None:
    alone = Group(np.arange(12), np.arange(12))
    assert len(shrink.spared(alone, np.arange(12.0), count)) == count
    assert shrink.spared(alone, np.arange(12.0), count)[0] == 12 - count
    parts = Group(np.arange(12), np.repeat(np.arange(4), 3))
    # 5, 7, 10 and 11 are no product of up to four groups and up to three of each
    allowed = {5: {4, 6}, 7: {6, 8}, 10: {9}, 11: {12}}.get(count, {count})
    stay = shrink.spared(parts, np.arange(12.0), count)
    assert len(stay) in allowed
    assert len({*np.bincount(stay // 3).tolist()} - {0}) == 1


# === Counting ===


@pytest.mark.parametrize(
    ("shape", "layer", "expected"),
    [
        ((8, 10, 3), layers.Conv2D(7, 3, strides=2, padding="same"), (4 * 5 * 7) * (9 * 3)),
        ((5, 8, 10, 3), layers.Conv3D(7, (3, 2, 2)), (3 * 7 * 9 * 7) * (12 * 3)),
        ((8, 10, 3), layers.DepthwiseConv2D(3, padding="same"), (8 * 10 * 3) * 9),
        ((4, 5), layers.Dense(7), 4 * 5 * 7),
        ((9, 5), layers.LSTM(6), 9 * 4 * (5 * 6 + 6 * 6)),
        ((9, 5), layers.GRU(6), 9 * 3 * (5 * 6 + 6 * 6)),
        ((9, 5), layers.SimpleRNN(6), 9 * (5 * 6 + 6 * 6)),
        ((4, 6, 6, 3), ConvLSTM2D(5, 3, padding="same"), (4 * 6 * 6) * (9 * 4 * 5) * (3 + 5)),
        (
            (4, 6, 6, 3),
            ConvLSTM2D(5, 3, padding="same", dropout=0.3, recurrent_dropout=0.3),
            (4 * 6 * 6) * (9 * 4 * 5) * (3 + 5),
        ),
        # queries, keys, values and the way back; then each place with each
        ((4, 6, 8), AttentionAlong(2, 2), 4 * (4 * 6 * 8 * 8 + 2 * 6 * 6 * 8)),
        ((4, 6, 8), AttentionAlong(1, 2), 6 * (4 * 4 * 8 * 8 + 2 * 4 * 4 * 8)),
        ((8, 8, 3), layers.MaxPooling2D(), 0),
    ],
)
def test_multiply_adds_are_those_counted_by_hand(
    shape: tuple[int, ...], layer: layers.Layer, expected: int
) -> None:
    assert multiply_adds(network(shape, layer)) == expected


def test_what_cannot_be_counted_is_not_passed_over() -> None:
    model = network((8, 8, 4), layers.Conv2D(6, 3, groups=2))
    with pytest.raises(ValueError, match="cannot be counted"):
        multiply_adds(model)


# === Zeros ===


def test_weights_compete_across_kernels_and_none_loses_all() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(30, 4)).astype(np.float32)
    scores = sparse.scored(kernel)
    # by size within a kernel, whatever its scale; the largest one of each before all others
    np.testing.assert_array_equal(np.argsort(scores.ravel()), np.argsort(np.abs(kernel).ravel()))
    np.testing.assert_allclose(sparse.scored(1000 * kernel), scores, rtol=1e-5)
    assert scores.max() == 1
