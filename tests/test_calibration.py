"""Temperature scaling: what is fitted, and that a bundle's answers are calibrated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kinoflow import bundle, live
from kinoflow.bundle import calibrated
from kinoflow.config import Params
from kinoflow.reports import metrics
from kinoflow.system import files
from kinoflow.training.calibration import fit_temperature
from kinoflow.video import stream
from kinoflow.video.live import timed
from tests.media import moving_square, write_video
from tests.networks import CLIP, noise, save_bundle, small_model
from tests.training import moving, settings, train


def drawn(count: int, too_sure: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Answers (count, 5) whose temperature should be `too_sure`, and the true classes (count,)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(count, 5))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(5, p=row) for row in honest])
    return calibrated(honest.astype(np.float32), 1 / too_sure), truth


@pytest.mark.parametrize("too_sure", [0.4, 1.0, 2.5])
def test_the_temperature_undoes_what_made_answers_too_sure_or_too_unsure(too_sure: float) -> None:
    answers, truth = drawn(4000, too_sure)
    temperature = fit_temperature(answers, truth, recordings=4000)
    assert temperature == pytest.approx(too_sure, rel=0.06)
    found = calibrated(answers, temperature)
    np.testing.assert_array_equal(found.argmax(axis=1), answers.argmax(axis=1))
    assert metrics.calibration_error(truth, found, 10) < 0.03
    if too_sure != 1:
        assert metrics.calibration_error(truth, answers, 10) > 0.08


def test_a_perfect_validation_set_makes_no_model_certain_and_fewer_recordings_less_so() -> None:
    answers = np.full((40, 3), 0.1, np.float32)
    truth = np.arange(40) % 3
    answers[np.arange(40), truth] = 0.8
    for recordings in (2, 8, 40):
        temperature = fit_temperature(answers, truth, recordings)
        confidence = calibrated(answers, temperature).max(axis=1)
        # the rule of succession: the next is right with (n + 1) / (n + 2)
        np.testing.assert_allclose(confidence, (recordings + 1) / (recordings + 2), atol=1e-3)


def test_one_class_for_certain_and_one_never_still_give_a_temperature() -> None:
    certain = np.eye(3, dtype=np.float32)
    assert fit_temperature(certain, np.array([0, 1, 2]), 3) > 1
    assert fit_temperature(certain, np.array([1, 2, 0]), 3) == 20  # always wrong
    found = calibrated(certain, 20)
    assert np.isfinite(found).all()
    assert (found.argmax(axis=1) == [0, 1, 2]).all()


def test_training_fits_it_to_what_the_bundle_answers_on_validation_clips(
    defaults: Params, tmp_path: Path
) -> None:
    # a model that takes fewer frames than a clip has: what is calibrated is the mean of its views
    params = settings(
        defaults,
        {"model": "c3d", "frames": 3, "options": {"filters": [8], "units": 8}},
        epochs=4,
        learning_rate=0.01,
    )
    train(params, tmp_path)
    model, val = bundle.load(tmp_path / "m"), moving(tmp_path / "clips", 16, 1)
    clips = val.read(np.arange(16))
    temperature = model.description.temperature
    pooled = model.pooled(clips)
    assert temperature == pytest.approx(fit_temperature(pooled, val.labels, 16), abs=2e-4)
    assert temperature != 1
    answers = model.predict(clips)
    np.testing.assert_array_equal(answers, calibrated(pooled, temperature))
    back = answers**temperature
    np.testing.assert_allclose(back / back.sum(axis=1, keepdims=True), pooled, atol=1e-5)


def heated(folder: Path, name: str, temperature: float) -> bundle.Bundle:
    save_bundle(folder, small_model(name), CLIP)
    loaded = bundle.load(folder)
    return replace(
        loaded, description=loaded.description.model_copy(update={"temperature": temperature})
    )


def test_a_bundle_from_before_answers_as_it_did(tmp_path: Path) -> None:
    cold = heated(tmp_path / "m", "lrcn", 1.0)
    values = files.read_json(tmp_path / "m" / bundle.DESCRIPTION)
    del values["temperature"]
    files.write_json(tmp_path / "m" / bundle.DESCRIPTION, values)
    before = bundle.load(tmp_path / "m")
    assert before.description.temperature == 1
    np.testing.assert_array_equal(before.predict(noise()), cold.pooled(noise()))


def test_live_answers_frame_by_frame_are_calibrated_too(tmp_path: Path) -> None:
    model = heated(tmp_path / "m", "movinet", 0.005)
    video = write_video(tmp_path / "a.avi", moving_square(CLIP.frames))
    [clip] = stream(video, CLIP)
    answering = live.Answering(model, CLIP.frames / 25, every=1)
    shown = live.moments(answering, timed(video), hold=0)
    [answer] = [one.probabilities for moment in shown for one in moment.answers]
    np.testing.assert_allclose(answer, model.predict(clip[None])[0], atol=2e-3)
    assert abs(answer - model.pooled(clip[None])[0]).max() > 0.02
