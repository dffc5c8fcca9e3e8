"""The layers that models share, compared with what they stand in for."""

from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from kinoflow.config import Candidate
from kinoflow.models.i3d import inflated
from kinoflow.models.layers.backbones import freeze, image_network, squeezenet
from kinoflow.models.layers.clip import FrameMask
from kinoflow.models.layers.convolution import convolved
from kinoflow.models.layers.depthwise import DepthwiseConv3D
from kinoflow.models.layers.factorised import FactorisedConv3D
from kinoflow.models.layers.normalisation import GroupNormalization
from kinoflow.models.layers.pooling import AttentionPooling, LastHeld, MomentsOverTime, Vote
from kinoflow.system.errors import UserError
from kinoflow.video import ClipSpec
from tests.networks import build

RNG = np.random.default_rng(0)


def called(layer: layers.Layer, *inputs: np.ndarray, **options: object) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(layer(*inputs, **options)))


class Plus(layers.Layer):  # type: ignore[misc]
    """Adds weights to a single input, so that their gradient is that of the input."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.added = self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x: Any) -> Any:
        return x + self.added


def _product(true: Any, answer: Any) -> Any:
    return keras.ops.sum(true * answer)


def assert_equal_in_all(ours: layers.Layer, kerass: layers.Layer, shape: tuple[int, ...]) -> None:
    """Two layers with the same weights agree: outputs for a single input, and all gradients."""
    rng = np.random.default_rng(0)
    inputs, plus = keras.Input(shape[1:]), (Plus(), Plus())
    model = keras.Model(inputs, [ours(plus[0](inputs)), kerass(plus[1](inputs))])
    weights = [rng.normal(size=weight.shape).astype("float32") for weight in kerass.weights]
    ours.set_weights(weights)
    kerass.set_weights(weights)
    x = (1 + rng.normal(size=shape)).astype("float32")
    outputs = [np.asarray(keras.ops.convert_to_numpy(output)) for output in model(x)]
    # the gradient of a sum of products is what changes the weights at a rate of one
    target = rng.normal(size=outputs[1].shape).astype("float32")
    model.compile(keras.optimizers.SGD(1.0), [_product, _product], run_eagerly=True)
    model.train_on_batch(x, [target, target])

    def changes(layer: layers.Layer, added: Plus) -> list[np.ndarray]:
        learned = [old - new for old, new in zip(weights, layer.get_weights(), strict=True)]
        return [*learned, *added.get_weights()]

    pairs = zip(changes(ours, plus[0]), changes(kerass, plus[1]), strict=True)
    for one, other in [(outputs[0], outputs[1]), *pairs]:
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [(1, 1, 1), (2, 2, 2), (1, 2, 2), (3, 1, 2)], ids=str)
@pytest.mark.parametrize(
    "kernel", [(1, 3, 3), (3, 1, 1), (1, 1, 1), (1, 2, 5), (4, 1, 1), (3, 3, 3)], ids=str
)
def test_a_factorised_convolution_is_that_of_keras(
    kernel: tuple[int, int, int], strides: tuple[int, int, int], padding: str
) -> None:
    for frames, height, width in [(7, 9, 10), (8, 6, 5)]:
        options = {"strides": strides, "padding": padding}
        ours = FactorisedConv3D(4, kernel, **options)
        kerass = layers.Conv3D(4, kernel, **options)
        assert_equal_in_all(ours, kerass, (1, frames, height, width, 3))


@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 1, 1)], ids=str)
@pytest.mark.parametrize(
    "options", [{"dilation_rate": 2}, {"use_bias": False, "activation": "relu"}], ids=str
)
def test_a_factorised_convolution_takes_the_arguments_of_keras(
    kernel: tuple[int, int, int], options: dict[str, Any]
) -> None:
    shape = (1, 7, 8, 9, 3)
    assert_equal_in_all(
        FactorisedConv3D(4, kernel, **options), layers.Conv3D(4, kernel, **options), shape
    )


def test_a_strided_pointwise_convolution_of_images_is_that_of_keras() -> None:
    images = keras.Input((9, 6, 5))
    ours = keras.Model(images, convolved(images, 8, 1, 2, activate=False))
    kerass = layers.Conv2D(8, 1, 2, padding="same", use_bias=False)
    x = RNG.normal(size=(2, 9, 6, 5)).astype("float32")
    kerass.build(x.shape)
    kerass.set_weights(ours.get_weights()[:1])
    expected = called(layers.GroupNormalization(8), called(kerass, x))
    np.testing.assert_allclose(called(ours, x), expected, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"center": False}, {"scale": False}], ids=str)
@pytest.mark.parametrize("shape", [(1, 5, 7, 6, 12), (1, 9, 5, 12), (1, 31, 12)], ids=str)
def test_group_normalisation_is_that_of_keras(
    shape: tuple[int, ...], options: dict[str, bool]
) -> None:
    for groups in (1, 4, 12):
        ours = GroupNormalization(groups, **options)
        assert_equal_in_all(ours, layers.GroupNormalization(groups, **options), shape)


def test_group_normalisation_is_that_of_keras_far_from_zero_and_where_nothing_moves() -> None:
    x = RNG.normal(size=(4, 16, 32, 32, 8)).astype("float32")
    x[1] += 2
    x[2] = 3
    x[3] = 0
    ours, kerass = GroupNormalization(4), layers.GroupNormalization(4)
    np.testing.assert_allclose(called(ours, x), called(kerass, x), atol=1e-5)


@pytest.mark.parametrize("strides", [(1, 1, 1), (2, 2, 2), (1, 2, 2)], ids=str)
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (5, 3, 3), (2, 5, 5)], ids=str)
@pytest.mark.parametrize("frames", [7, 8])
def test_depthwise_convolution_is_a_full_one_with_nothing_between_channels(
    frames: int, kernel: tuple[int, int, int], strides: tuple[int, int, int]
) -> None:
    x = RNG.normal(size=(2, frames, 9, 10, 4)).astype("float32")
    layer = DepthwiseConv3D(kernel, strides)
    ours = called(layer, x)
    full = layers.Conv3D(4, kernel, strides, padding="same", use_bias=False)
    full.build(x.shape)
    weights = np.zeros((*kernel, 4, 4), "float32")
    [own] = layer.get_weights()
    for channel in range(4):
        weights[..., channel, channel] = own[..., channel, 0]
    full.set_weights([weights])
    np.testing.assert_allclose(ours, called(full, x), atol=1e-5)


def test_the_mask_is_false_where_a_frame_is_black_unless_all_are() -> None:
    clips = np.ones((3, 5, 2, 2, 3), np.uint8)
    clips[1, 3:] = 0
    clips[2] = 0
    expected = [[True] * 5, [True] * 3 + [False] * 2, [True] * 5]
    np.testing.assert_array_equal(called(FrameMask(), clips), expected)
    np.testing.assert_array_equal(
        called(FrameMask(span=2), clips), [[True] * 3, [True, True, False], [True] * 3]
    )


def test_a_majority_wins_the_vote_and_the_mean_breaks_ties() -> None:
    frames = np.array([[[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.0, 0.1, 0.9]]], "float32")
    assert called(Vote("mode"), frames).argmax() == 0
    assert called(Vote("mean"), frames).argmax() == 0
    tie = np.array([[[0.6, 0.4, 0.0], [0.0, 0.1, 0.9]]], "float32")
    assert called(Vote("mode"), tie).argmax() == 2
    lone = np.array([[[0.51, 0.49, 0.0], [0.51, 0.49, 0.0], [0.0, 1.0, 0.0]]], "float32")
    assert called(Vote("mode"), lone).argmax() == 0
    assert called(Vote("mean"), lone).argmax() == 1
    masked = called(Vote("mode"), lone, mask=np.array([[False, False, True]]))
    np.testing.assert_allclose(masked, [[0, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(called(Vote("mode"), lone).sum(), 1, atol=1e-6)


def test_moments_and_attention_pass_over_padding() -> None:
    x = RNG.normal(size=(1, 6, 4)).astype("float32")
    mask = np.array([[True] * 4 + [False] * 2])
    expected = np.concatenate([x[0, :4].mean(axis=0), x[0, :4].std(axis=0)])
    np.testing.assert_allclose(called(MomentsOverTime(), x, mask=mask)[0], expected, atol=1e-4)
    pool = AttentionPooling()
    pooled = called(pool, x, mask=mask)
    np.testing.assert_allclose(pooled, called(pool, x[:, :4]), atol=1e-5)


@pytest.mark.parametrize("name", ["VGG16", "MobileNetV2", "DenseNet121", "MobileNetV3Small"])
def test_colours_are_changed_as_keras_changes_them(name: str) -> None:
    _, (matrix, shift) = image_network(name, (64, 64, 3), None)
    builder = getattr(keras.applications, name)
    module = getattr(keras.applications, builder.__module__.rpartition(".")[2])
    image = RNG.integers(0, 256, (1, 8, 8, 3)).astype("float32")
    expected = np.asarray(module.preprocess_input(image.copy()))
    np.testing.assert_allclose(
        (image / 127.5 - 1) @ np.array(matrix) + np.array(shift), expected, atol=1e-3
    )


def test_an_inflated_network_answers_to_a_still_clip_as_to_its_frame() -> None:
    image = squeezenet((48, 48, 3))
    frame = RNG.normal(size=(1, 48, 48, 3)).astype("float32")
    flat = np.asarray(image.predict_on_batch(frame))
    clip = np.repeat(frame[:, None], 17, axis=1)
    deep = np.asarray(inflated(image, 17, 3).predict_on_batch(clip))
    # eight convolutions over three frames: what comes from beyond the ends reaches eight in
    np.testing.assert_allclose(deep[:, 8], flat, rtol=1e-3, atol=1e-4)
    still = np.asarray(inflated(image, 17, 1).predict_on_batch(clip))
    np.testing.assert_allclose(still, np.repeat(flat[:, None], 17, axis=1), rtol=1e-3, atol=1e-4)


def test_networks_of_keras_are_inflated_or_refused() -> None:
    clip = ClipSpec(4, 32, 32)
    built = build(Candidate(model="i3d", options={"backbone": "ResNet50"}), clip, 3)
    clips = np.zeros((1, *clip.shape), np.uint8)
    np.testing.assert_allclose(built.predict_on_batch(clips).sum(), 1, atol=1e-5)
    with pytest.raises(UserError, match="DepthwiseConv2D, which has no inflation"):
        build(Candidate(model="i3d", options={"backbone": "MobileNet"}), clip, 3)


def voting(**options: object) -> keras.Model:
    candidate = Candidate(model="frame_voting", options={"backbone": "SqueezeNet", **options})
    return build(candidate, ClipSpec(2, 40, 40), 3)


def test_a_frozen_network_drops_nothing_out_in_training() -> None:
    image = keras.Input((100,))
    network = keras.Model(image, layers.Dropout(0.5)(image))
    x = np.ones((1, 100), "float32")
    assert not np.array_equal(called(network, x, training=True), x)
    freeze(network)
    np.testing.assert_array_equal(called(network, x, training=True), x)


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    trained = squeezenet((56, 56, 3))  # weights do not depend on the size of images
    trained.save_weights(tmp_path / "own.weights.h5")
    model = voting(weights=str(tmp_path / "own.weights.h5"))
    loaded = model.get_layer("squeezenet").get_weights()
    for one, other in zip(loaded, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not model.get_layer("squeezenet").trainable_variables
    free = voting(weights=str(tmp_path / "own.weights.h5"), trainable=True)
    assert len(free.trainable_variables) == len(model.trainable_variables) + len(loaded)


def test_published_weights_in_the_old_format_are_read(real_data: Path) -> None:
    weights = real_data.parent / "weights" / "squeezenet_v1.1_imagenet_notop.h5"
    if not weights.exists():
        pytest.skip(f"{weights} is missing")
    model = voting(weights=str(weights))
    first, *_ = model.get_layer("squeezenet").get_weights()
    with h5py.File(weights) as file:
        np.testing.assert_array_equal(first, file["conv1/conv1_2/kernel:0"])


def test_weights_that_cannot_be_had_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no backbone 'VGG17'; there are SqueezeNet, .*VGG16"):
        voting(backbone="VGG17")
    with pytest.raises(UserError, match="there is no file nowhere.h5"):
        voting(weights="nowhere.h5")
    (tmp_path / "text.h5").write_text("Dear diary")
    with pytest.raises(UserError, match=r"text\.h5 does not fit squeezenet"):
        voting(weights=str(tmp_path / "text.h5"))
    with pytest.raises(UserError, match="no weights 'imagenet' of squeezenet: give a file's path"):
        voting(weights="imagenet")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there: no network
    with pytest.raises(UserError, match="imagenet.*come over the network.*set the option"):
        voting(backbone="MobileNetV2", weights="imagenet")


def test_a_backbone_takes_colours_alone() -> None:
    options = {"backbone": "VGG16", "inputs": "both"}
    with pytest.raises(UserError, match="set inputs to frames"):
        build(Candidate(model="vgg_lstm", options=options), ClipSpec(2, 32, 32), 3)


def test_the_last_frame_is_held_where_padding_follows() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 4, 3, 1)
    # black frames before the last that is not are no padding
    mask = np.array([[True, False, True, False], [True, True, True, True]])
    held = keras.ops.convert_to_numpy(LastHeld()(x, mask=mask))
    np.testing.assert_array_equal(held[0], x[0, [0, 1, 2, 2]])
    np.testing.assert_array_equal(held[1], x[1])
