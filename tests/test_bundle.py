"""How a bundle answers: over views and mirrored views, clip by clip, and from equal bytes."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kinoflow import bundle
from kinoflow.bundle import Bundle, Probabilities
from kinoflow.models import MODELS
from kinoflow.models.layers.clip import FrameMask
from kinoflow.system.errors import UserError
from kinoflow.video import ClipSpec, Frames
from kinoflow.video.sampling import temporal_views
from serving.batching import Batcher
from tests.networks import CLIP, answers, noise, save_bundle, small_model


def test_equal_models_are_equal_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save_bundle(tmp_path / folder, small_model("r2plus1d"), CLIP)
    one, other = ((tmp_path / folder / "model.keras").read_bytes() for folder in ("a", "b"))
    assert one == other


def test_views_and_mirrored_views_are_averaged(tmp_path: Path) -> None:
    taken = replace(CLIP, frames=4)
    model = small_model("r2plus1d", CLIP, taken)
    save_bundle(tmp_path / "bundle", model, taken, views=2, flip=True)
    views = temporal_views(8, 4, 2)
    assert [list(view) for view in views] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    sides = [noise(), noise()[:, :, :, ::-1]]
    expected = np.mean([answers(model, side[:, view]) for view in views for side in sides], axis=0)
    np.testing.assert_allclose(
        bundle.load(tmp_path / "bundle").predict(noise()), expected, atol=1e-6
    )


def torn(model: keras.Model, clips: Frames) -> keras.Model:
    """The model with a head for which little decides: it is undecided about the first of `clips`.

    Untrained models answer nearly the same to all noise, so that their answers are easily equal.
    """
    head = [layer for layer in model.layers if hasattr(layer, "kernel")][-1]
    head.kernel.assign(20 * head.kernel)
    head.bias.assign(head.bias - np.log(answers(model, clips)[0]))
    return model


@pytest.mark.parametrize("name", MODELS)
def test_views_in_one_call_answer_as_views_alone_and_clips_as_clips_alone(
    name: str, tmp_path: Path
) -> None:
    taken = replace(CLIP, frames=4)
    many = noise(3)
    model = torn(small_model(name, CLIP, taken), many[:, :4])
    save_bundle(tmp_path / "bundle", model, taken, views=2, flip=True)
    loaded = bundle.load(tmp_path / "bundle")
    found = loaded.predict(many)
    for clip, answer in zip(many, found, strict=True):
        np.testing.assert_array_equal(loaded.predict(clip[None])[0], answer)
    sides = (many[:1], many[:1, :, :, ::-1])
    singly = [answers(model, side[:, view]) for side in sides for view in temporal_views(8, 4, 2)]
    assert np.ptp(singly, axis=0).max() > 1e-3
    np.testing.assert_allclose(found[:1], np.mean(singly, axis=0), atol=1e-5)
    # as the service asks: all that waits in one call, or a clip's views in several
    for served in (together(loaded, many), apart(loaded, many)):
        np.testing.assert_allclose(served, found, atol=1e-4)
        decided = np.diff(np.sort(found)[:, -2:]).ravel() > 2e-4
        assert (served.argmax(axis=1) == found.argmax(axis=1))[decided].all()


def together(model: Bundle, clips: Frames) -> Probabilities:
    """Answers to clips that go through the model in one call."""
    views = [model.views(clip) for clip in clips]
    answers = model.forward(np.concatenate(views)).reshape(len(clips), len(views[0]), -1)
    return model.calibrated(answers.mean(axis=1))


def apart(model: Bundle, clips: Frames) -> Probabilities:
    """Answers to clips whose views are shared among lanes that call the model at the same time."""
    ask = Batcher(model.forward, lanes=2, most_views=3, most_waiting=9)
    with contextlib.closing(ask), ThreadPoolExecutor(len(clips)) as threads:
        found = threads.map(lambda clip: ask(model.views(clip))[0].mean(axis=0), clips)
        return model.calibrated(np.stack([*found]))


def test_a_clip_with_one_view_answers_alone_as_among_others(tmp_path: Path) -> None:
    save_bundle(tmp_path / "bundle", small_model("r2plus1d"), CLIP, views=3)
    loaded = bundle.load(tmp_path / "bundle")
    many = noise(5)
    alone = np.concatenate([loaded.predict(many[k : k + 1]) for k in range(5)])
    np.testing.assert_array_equal(loaded.predict(many), alone)


def test_views_of_a_short_clip_are_of_its_frames_and_not_of_its_padding(tmp_path: Path) -> None:
    masked = replace(CLIP, padding="mask")
    taken = replace(masked, frames=4)
    model = small_model("lrcn", masked, taken)
    save_bundle(tmp_path / "bundle", model, taken, views=2, clip=masked)
    loaded = bundle.load(tmp_path / "bundle")
    for shown, views in (
        (6, [[0, 1, 3, 4], [1, 2, 4, 5]]),
        (4, [[0, 1, 2, 3]]),
        (3, [[0, 1, 2, 7]]),
    ):
        clip = noise(1)
        clip[:, shown:] = 0
        expected = np.mean([answers(model, clip[:, view])[0] for view in views], axis=0)
        np.testing.assert_allclose(loaded.predict(clip)[0], expected, atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch compiles nothing")
def test_short_clips_neither_compile_the_model_anew_nor_change_their_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked = replace(CLIP, padding="mask")
    taken = replace(masked, frames=4)
    clips = noise(5)
    model = torn(small_model("lrcn", masked, taken), clips[:, :4])
    save_bundle(tmp_path / "bundle", model, taken, views=3, clip=masked)
    for clip, shown in zip(clips, (2, 8, 4, 5, 3), strict=True):
        clip[shown:] = 0
    compilations = []
    call = FrameMask.call

    def counted(*arguments: Any) -> Any:
        compilations.append(1)
        return call(*arguments)

    # a compiled model calls its layers while it is being compiled, and never again
    monkeypatch.setattr(FrameMask, "call", counted)
    loaded = bundle.load(tmp_path / "bundle")
    # JAX compiles for one view and for three
    loaded.predict(clips[: 2 if keras.backend.backend() == "jax" else 1])
    assert compilations
    compilations.clear()
    found = loaded.predict(clips)
    assert not compilations
    backwards = bundle.load(tmp_path / "bundle").predict(clips[::-1])
    np.testing.assert_array_equal(backwards[::-1], found)


def test_a_folder_that_is_no_bundle_and_wrong_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no trained model"):
        bundle.load(tmp_path)
    save_bundle(tmp_path / "bundle", small_model("lrcn"), CLIP)
    with pytest.raises(ValueError, match="clips must be"):
        bundle.load(tmp_path / "bundle").predict(noise(2, ClipSpec(8, 16, 16)))
    path = tmp_path / "bundle/bundle.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(UserError, match=rf"^{path}: Invalid JSON.*$"):
        bundle.load(tmp_path / "bundle")
