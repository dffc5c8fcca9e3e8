"""Models that are rebuilt for export have the same weights and give the same answers."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kinoflow.compress import exporting, rebuild
from kinoflow.compress.recurrence import in_one_product
from kinoflow.config import Candidate
from kinoflow.models.layers.clip import Pixels
from tests.networks import CLIP, SMALL, answers, build, noise, small_model


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("shape", [(5, 7, 6), (8, 8, 8)])
@pytest.mark.parametrize(("pool", "strides"), [((2, 2, 2), None), ((3, 3, 2), (2, 2, 2))])
def test_pooling_by_frames_is_pooling(
    shape: tuple[int, ...], pool: tuple[int, ...], strides: tuple[int, ...] | None, padding: str
) -> None:
    x = np.random.default_rng(0).normal(size=(2, *shape, 3)).astype(np.float32)
    one, other = (
        kind(pool, strides, padding=padding)(x)
        for kind in (layers.MaxPooling3D, rebuild.MaxPooling3DByFrames)
    )
    np.testing.assert_array_equal(one, other)
    flat = (1, *pool[1:])
    one, other = (
        kind(flat, padding=padding)(x)
        for kind in (layers.AveragePooling3D, rebuild.AveragePooling3DByFrames)
    )
    np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(20, 30), (40, 17), (64, 64)])
def test_scaling_by_products_is_scaling(height: int, width: int) -> None:
    one, other = (kind(height, width)(noise()) for kind in (Pixels, rebuild.PixelsByProducts))
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cnn_lstm", {"cell": "gru", "pooling": "attention"}),
        ("cnn_rnn", {"inputs": "both"}),
        ("lrcn", {"batch_norm": True}),
        ("convlstm", {"recurrent_dropout": 0.2}),
        ("frame_voting", {"vote": "mode"}),
        ("r3d", {}),
        ("i3d", {}),
        ("vivit", {}),
    ],
)
def test_a_rebuilt_model_answers_alike_with_masks_and_smaller_frames(
    name: str, options: dict[str, Any]
) -> None:
    stored = replace(CLIP, padding="mask")
    taken = replace(CLIP, frames=6, height=36, width=32)
    model = small_model(name, stored, taken, **options)
    network = rebuild.rebuilt(model, pool_by_frames=True)
    assert not [layer for layer in network.layers if getattr(layer, "unroll", True) is False]
    shown = noise(2, stored)[:, :6].copy()
    shown[0, -2:] = 0
    for clip in shown:
        np.testing.assert_allclose(
            answers(network, clip[None]), answers(model, clip[None]), atol=1e-5
        )


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (layers.LSTM, {"return_sequences": True}),
        (layers.LSTM, {"activation": "relu", "recurrent_activation": "hard_sigmoid"}),
        (layers.LSTM, {"use_bias": False, "go_backwards": True}),
        (layers.GRU, {}),
        (layers.GRU, {"use_bias": False, "return_sequences": True}),
        (layers.SimpleRNN, {"return_sequences": True}),
        (layers.SimpleRNN, {"use_bias": False}),
    ],
)
def test_recurrence_in_one_product_is_recurrence(
    kind: type[layers.RNN], options: dict[str, Any]
) -> None:
    keras.utils.set_random_seed(0)
    layer = kind(5, unroll=True, bias_initializer="random_normal", **options)
    x = np.random.default_rng(0).normal(size=(3, 7, 4)).astype(np.float32)
    mask = np.arange(7) < np.array([[7], [4], [1]])
    expected = [layer(x), layer(x, mask=mask)]
    other = in_one_product(layer)
    assert other is not None
    rebuilt = other.from_config(layer.get_config())
    rebuilt.build(x.shape)
    rebuilt.set_weights(layer.get_weights())
    for found, wanted in zip([rebuilt(x), rebuilt(x, mask=mask)], expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_recurrence_that_needs_each_step_s_product_stays() -> None:
    assert in_one_product(layers.GRU(5, reset_after=False)) is None
    assert in_one_product(layers.Dense(5)) is None


def test_a_model_of_mixed_precision_computes_in_float32() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(Candidate(model="c3d", frames=CLIP.frames, options=SMALL["c3d"]), CLIP, 5)
    finally:
        keras.config.set_dtype_policy("float32")
    assert rebuild.is_mixed(model)
    network = rebuild.rebuilt(model, pool_by_frames=False)
    assert not rebuild.is_mixed(network)
    np.testing.assert_allclose(
        answers(network, noise(1)), answers(model, noise(1)), atol=exporting.MIXED.change
    )
