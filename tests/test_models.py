from pathlib import Path

import keras
import numpy as np
import pytest

from kinoflow import bundle
from kinoflow.bundle import Description
from kinoflow.console import UserError
from kinoflow.models import MODELS, build
from kinoflow.params import Candidate
from kinoflow.video import ClipSpec

STORED = ClipSpec(8, 32, 32)
SEEN = [STORED, ClipSpec(4, 16, 24)]


def clips(count: int = 2, spec: ClipSpec = STORED) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *spec.shape), dtype=np.uint8)


def made(name: str, seen: ClipSpec = STORED) -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    candidate = Candidate(model=name, frames=seen.frames, height=seen.height, width=seen.width)
    return build(candidate, STORED, 5)


@pytest.mark.parametrize("seen", SEEN, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_forward_gives_probabilities(name: str, seen: ClipSpec) -> None:
    model = made(name, seen)
    assert model.input_shape[1:] == (seen.frames, STORED.height, STORED.width, 3)
    for count in (1, 3):
        answer = model(clips(count)[:, : seen.frames])
        assert keras.backend.standardize_dtype(answer.dtype) == "float32"
        answer = keras.ops.convert_to_numpy(answer)
        assert answer.shape == (count, 5)
        np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
        assert (answer > 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_learns(name: str) -> None:
    model = made(name)
    before = [weight.numpy().copy() for weight in model.trainable_variables]
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.optimizer.learning_rate = 1.0
    model.fit(clips(4), np.arange(4), epochs=2, verbose=0)
    for old, weight in zip(before, model.trainable_variables, strict=True):
        assert np.isfinite(weight.numpy()).all(), weight.path
        assert not np.array_equal(old, weight.numpy()), weight.path


@pytest.mark.parametrize("seen", SEEN, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_a_bundle_answers_as_the_model_did(name: str, seen: ClipSpec, tmp_path: Path) -> None:
    model = made(name, seen)
    view = clips()[:, bundle.temporal_views(8, seen.frames, 1)[0]]
    expected = model.predict_on_batch(view)
    save(tmp_path / "bundle", model, seen)
    loaded = bundle.load(tmp_path / "bundle")
    assert loaded.labels == tuple("ABCDE")
    np.testing.assert_allclose(loaded.predict(clips()), expected, atol=1e-6)


def save(folder: Path, model: keras.Model, seen: ClipSpec, views: int = 1) -> None:
    description = Description(
        name="test",
        labels=tuple("ABCDE"),
        clip=STORED,
        frames=seen.frames,
        views=views,
        candidate={},
        seed=0,
        data="",
        versions={},
        metrics={},
    )
    bundle.save(folder, model, description, "epoch\n")


def test_equal_models_are_equal_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save(tmp_path / folder, made("r2plus1d"), STORED)
    one, other = (
        (tmp_path / folder / name).read_bytes()
        for name in ("model.keras",)
        for folder in ("a", "b")
    )
    assert one == other


def test_views_are_averaged(tmp_path: Path) -> None:
    seen = ClipSpec(4, 32, 32)
    model = made("r2plus1d", seen)
    save(tmp_path / "bundle", model, seen, views=2)
    views = bundle.temporal_views(8, 4, 2)
    assert [list(view) for view in views] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    expected = np.mean([model.predict_on_batch(clips()[:, view]) for view in views], axis=0)
    np.testing.assert_allclose(
        bundle.load(tmp_path / "bundle").predict(clips()), expected, atol=1e-6
    )


def test_a_batch_answers_as_its_clips_alone(tmp_path: Path) -> None:
    save(tmp_path / "bundle", made("r2plus1d"), STORED)
    loaded = bundle.load(tmp_path / "bundle")
    many = clips(5)
    alone = np.concatenate([loaded.predict(many[k : k + 1]) for k in range(5)])
    np.testing.assert_array_equal(loaded.predict(many), alone)


def test_frame_voting_ignores_the_order_of_frames_and_r2plus1d_does_not() -> None:
    forward, backward = clips(), clips()[:, ::-1]
    voting, network = made("frame_voting"), made("r2plus1d")
    np.testing.assert_allclose(
        voting.predict_on_batch(forward), voting.predict_on_batch(backward), atol=1e-5
    )
    assert abs(network.predict_on_batch(forward) - network.predict_on_batch(backward)).max() > 1e-3


def test_wrong_options_and_sizes_are_named() -> None:
    with pytest.raises(UserError, match="lrcn has no option depth; there are filters, pools"):
        build(Candidate(model="lrcn", options={"depth": 3}), STORED, 5)
    with pytest.raises(UserError, match="lrcn cannot be built"):
        build(Candidate(model="lrcn", options={"pools": [2, 2]}), STORED, 5)


def test_a_folder_that_is_no_bundle_and_wrong_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no trained model"):
        bundle.load(tmp_path)
    save(tmp_path / "bundle", made("lrcn"), STORED)
    with pytest.raises(ValueError, match="clips must be"):
        bundle.load(tmp_path / "bundle").predict(clips(2, ClipSpec(8, 16, 16)))
