"""The convolutional LSTM, compared with Keras' own."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kinoflow.models.layers.convlstm import ConvLSTM2D
from tests.test_layers import assert_equal_in_all

RNG = np.random.default_rng(0)
SHAPE = (1, 5, 7, 6, 3)


def both(*args: Any, **options: Any) -> tuple[layers.Layer, layers.Layer]:
    return ConvLSTM2D(*args, **options), layers.ConvLSTM2D(*args, **options)


def clips(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype("float32")


def arrays(values: Any) -> list[np.ndarray]:
    """A layer's results, one or several, as they are for NumPy."""
    several = values if isinstance(values, list | tuple) else [values]
    return [np.asarray(keras.ops.convert_to_numpy(value)) for value in several]


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_it_is_that_of_keras(padding: str, return_sequences: bool, use_bias: bool) -> None:
    options = {
        "padding": padding,
        "return_sequences": return_sequences,
        "use_bias": use_bias,
    }
    assert_equal_in_all(*both(4, 3, **options), SHAPE)


@pytest.mark.parametrize("kernel", [3, 2, (4, 3)], ids=str)
def test_so_it_is_where_the_state_is_one_pixel(kernel: int | tuple[int, int]) -> None:
    options = {"strides": 3, "padding": "same", "return_sequences": True}
    assert_equal_in_all(*both(4, kernel, **options), (1, 4, 3, 3, 2))


@pytest.mark.parametrize(
    "options",
    [
        {"strides": 2, "padding": "same"},
        {"strides": (1, 2)},
        {"dilation_rate": 2},
        {"go_backwards": True, "return_sequences": True},
        {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
        {"unit_forget_bias": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("kernel", [3, (2, 3)], ids=str)
def test_it_takes_the_arguments_of_keras(
    kernel: int | tuple[int, int], options: dict[str, Any]
) -> None:
    assert_equal_in_all(*both(4, kernel, **options), SHAPE)


@pytest.mark.parametrize("return_sequences", [True, False])
def test_it_begins_and_ends_with_the_states_of_keras(return_sequences: bool) -> None:
    x, states = clips(2, 3, 6, 5, 2), [clips(2, 4, 3, 4), clips(2, 4, 3, 4)]
    ours, kerass = both(4, 3, return_state=True, return_sequences=return_sequences)
    kerass.build(x.shape)
    ours.build(x.shape)
    ours.set_weights(kerass.get_weights())
    for options in ({}, {"initial_state": states}):
        results = arrays(ours(x, **options))
        expected = arrays(kerass(x, **options))
        for one, other in zip(results, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_it_goes_on_from_clip_to_clip_as_that_of_keras_does() -> None:
    ours, kerass = both(4, 3, stateful=True)
    kerass.build((2, 3, 6, 5, 2))
    ours.build((2, 3, 6, 5, 2))
    ours.set_weights(kerass.get_weights())
    for _ in range(2):
        x = clips(2, 3, 6, 5, 2)
        answer, expected = arrays([ours(x), kerass(x)])
        np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)


def test_its_weights_begin_as_those_of_keras() -> None:
    built = []
    for kind in (ConvLSTM2D, layers.ConvLSTM2D):
        keras.utils.set_random_seed(3)
        built.append(kind(4, 3))
        built[-1].build(SHAPE)
    for one, other in zip(*(layer.weights for layer in built), strict=True):
        assert one.name == other.name
        weight, expected = arrays([one, other])
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize("dropped", ["dropout", "recurrent_dropout"])
def test_dropout_takes_the_same_from_all_gates_and_frames(dropped: str) -> None:
    # with kernels of one pixel, each pixel is an LSTM of its own, which sees its input (or its
    # state) either scaled up or not at all
    shape, rate = (3, 6, 9, 8, 1), 0.4
    layer = ConvLSTM2D(1, 1, return_sequences=True, seed=1, **{dropped: rate})
    layer.build(shape)
    kernel, recurrent, bias = layer.get_weights()
    layer.set_weights([kernel + 1, recurrent + 1, bias])
    x = clips(*shape)
    (answer,) = arrays(layer(x, training=True))

    def scaled_by(factor: float) -> np.ndarray:
        other = layers.ConvLSTM2D(1, 1, return_sequences=True)
        other.build(shape)
        scales = (factor, 1) if dropped == "dropout" else (1, factor)
        other.set_weights([(kernel + 1) * scales[0], (recurrent + 1) * scales[1], bias])
        return arrays(other(x))[0]

    # of each clip and pixel, whether all its frames are as they would be
    without, up, plain = (
        np.isclose(answer, scaled_by(factor), rtol=1e-4, atol=1e-5).all(axis=(1, 4))
        for factor in (0, 1 / (1 - rate), 1)
    )
    assert (without ^ up).all()
    assert 0.25 < without.mean() < 0.55
    assert not plain.any()
    np.testing.assert_allclose(arrays(layer(x))[0], scaled_by(1), rtol=1e-5, atol=1e-6)


def test_a_state_that_is_restored_drops_the_same_again() -> None:
    x = clips(2, 3, 6, 5, 2)
    layer = ConvLSTM2D(4, 3, dropout=0.3, recurrent_dropout=0.3)
    layer.build(x.shape)
    before = [keras.ops.convert_to_numpy(variable) for variable in layer.variables]
    first, second = arrays([layer(x, training=True), layer(x, training=True)])
    assert np.abs(first - second).max() > 1e-3
    for variable, value in zip(layer.variables, before, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(arrays(layer(x, training=True))[0], first)


def test_a_file_of_it_is_read_back(tmp_path: Path) -> None:
    inputs = keras.Input(SHAPE[1:])
    options = {"padding": "same", "recurrent_dropout": 0.3, "return_sequences": True}
    model = keras.Model(inputs, ConvLSTM2D(4, (2, 3), **options)(inputs))
    model.save(tmp_path / "model.keras")
    read = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(read.layers[1]) is ConvLSTM2D
    assert read.layers[1].get_config() == model.layers[1].get_config()
    x = clips(*SHAPE)
    answer, expected = arrays([read(x), model(x)])
    np.testing.assert_array_equal(answer, expected)


def test_a_mask_of_frames_is_refused() -> None:
    layer = ConvLSTM2D(4, 3)
    with pytest.raises(ValueError, match="takes no mask of frames"):
        layer(clips(*SHAPE), mask=np.ones(SHAPE[:2], dtype=bool))
