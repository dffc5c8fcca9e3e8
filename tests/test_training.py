import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from kinoflow import bundle
from kinoflow.config import Params
from kinoflow.data.clips import ClipSet
from kinoflow.reports.records import Finding, Verdict, require_validated
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.training.fit import build_model
from tests.training import SMALL, moving, settings, train


def loss(probabilities: NDArray[np.float32], truth: ClipSet) -> float:
    """The cross-entropy of answers (N, classes) to all clips of a set."""
    return float(-np.log(probabilities[np.arange(len(truth)), truth.labels]).mean())


def test_a_model_of_time_learns_what_only_time_tells(
    defaults: Params, tmp_path: Path, within: Callable[[str, float, float], None]
) -> None:
    candidate = {"model": "r2plus1d", "options": {"filters": [8]}}
    params = settings(defaults, candidate, epochs=6, learning_rate=0.01)
    history = train(params, tmp_path)
    within("validation clips taken for the other", 1 - history["val_accuracy"].max(), 0.1)
    loaded = bundle.load(tmp_path / "m")
    test = moving(tmp_path, 20, 2)
    answers = loaded.predict(test.read(np.arange(20)))
    within("test clips taken for the other", (answers.argmax(axis=1) != test.labels).mean(), 0.1)
    with zipfile.ZipFile(tmp_path / "m" / bundle.MODEL) as archive:
        archive.extract("model.weights.h5", tmp_path)
    with h5py.File(tmp_path / "model.weights.h5") as stored:
        assert "optimizer" not in stored
        assert stored["layers"]
    kept = loaded.description.metrics
    assert kept["epoch"] == history["val_loss"].argmin() + 1
    assert kept["val_loss"] == pytest.approx(history["val_loss"].min())


def test_the_same_seed_gives_the_same_bundle_and_another_does_not(
    defaults: Params, tmp_path: Path
) -> None:
    params = settings(defaults)
    for name in ("one", "two"):
        train(params, tmp_path / name)
    train(params.model_copy(update={"seed": 8}), tmp_path / "other")
    one, two, other = (
        files.md5(tmp_path / name / "m" / "model.keras") for name in ("one", "two", "other")
    )
    assert one == two != other


def test_a_repository_without_a_commit_will_do(
    defaults: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").touch()
    monkeypatch.chdir(tmp_path)
    train(settings(defaults, epochs=1), tmp_path)
    (curve,) = (tmp_path / "c").rglob("val_loss.tsv")
    assert len(curve.read_text().splitlines()) == 1 + 1


def test_early_stopping_waits_for_patience_and_keeps_the_best(
    defaults: Params, tmp_path: Path
) -> None:
    # labels that cannot be learned: validation does not improve for long
    noise = moving(tmp_path, 32, 3)
    noise = replace(noise, labels=np.random.default_rng(0).permutation(noise.labels))
    params = settings(defaults, epochs=40, patience=2, learning_rate=0.01, label_smoothing=0)
    val = moving(tmp_path / "clips", 16, 1)
    history = train(params, tmp_path, train=noise, val=val)
    assert len(history) < 40
    assert history["val_loss"].argmin() == len(history) - 3
    model = bundle.load(tmp_path / "m")
    assert model.description.metrics["epoch"] == len(history) - 2
    assert loss(model.pooled(val.read(np.arange(16))), val) == pytest.approx(
        history["val_loss"].min(), rel=1e-4
    )


def test_divergence_is_one_line(defaults: Params, tmp_path: Path) -> None:
    params = settings(defaults, optimizer="sgd", learning_rate=1e38, warmup=0.0)
    with pytest.raises(UserError, match=r"diverged in epoch \d.*lower training.learning_rate"):
        train(params, tmp_path)


def test_without_patience_all_epochs_are_run_and_the_last_is_kept(
    defaults: Params, tmp_path: Path
) -> None:
    noise = moving(tmp_path, 32, 3)
    noise = replace(noise, labels=np.random.default_rng(0).permutation(noise.labels))
    params = settings(defaults, epochs=6, patience=None, learning_rate=0.01)
    history = train(params, tmp_path, train=noise)
    assert len(history) == 6
    assert bundle.load(tmp_path / "m").description.metrics["epoch"] == 6


def test_what_is_kept_is_the_average_of_weights_that_was_validated(
    defaults: Params, tmp_path: Path
) -> None:
    # so slow an average that after some steps it is still nearly what training began with
    params = settings(defaults, epochs=2, ema=0.999, learning_rate=0.01, label_smoothing=0)
    history = train(params, tmp_path / "averaged")
    model = bundle.load(tmp_path / "averaged" / "m")
    val = moving(tmp_path / "averaged" / "clips", 16, 1)

    clips = val.read(np.arange(16))
    begun = build_model(params.resolve("a"), 2, "float32")(clips, training=False)
    begun_with = loss(keras.ops.convert_to_numpy(begun), val)
    assert history["val_loss"].iloc[0] == pytest.approx(begun_with, abs=0.05)
    assert loss(model.pooled(clips), val) == pytest.approx(history["val_loss"].min(), rel=1e-4)
    train(settings(defaults, epochs=2, learning_rate=0.01), tmp_path / "last")
    average, last = (
        bundle.load(tmp_path / name / "m").model.get_weights()[0] for name in ("averaged", "last")
    )
    assert not np.allclose(average, last, atol=1e-3)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_model_trained_in_less_precision_answers_in_float32(
    precision: str, defaults: Params, tmp_path: Path
) -> None:
    candidate = {"model": "r2plus1d", "options": {"filters": [4]}}
    train(settings(defaults, candidate, epochs=1, precision=precision), tmp_path)
    with zipfile.ZipFile(tmp_path / "m" / bundle.MODEL) as archive:
        config = archive.read("config.json").decode()
    assert "float16" not in config
    assert '"float32"' in config


def test_a_class_that_is_not_there_is_named(defaults: Params, tmp_path: Path) -> None:
    params = settings(defaults, {**SMALL, "augment": {"flip_except": ["up"]}})
    with pytest.raises(UserError, match="flip_except names up, which is no class: there are right"):
        train(params, tmp_path)


def test_training_needs_validated_data(tmp_path: Path) -> None:
    path = tmp_path / "validation.json"
    with pytest.raises(UserError, match="not validated"):
        require_validated(path)
    failure = Finding(
        table="split",
        expectation="expect_column_values_to_be_in_set",
        column="group",
        severity="critical",
        meaning="no group stands on two sides",
        videos=(),
        count=0,
    )
    Verdict(passed=False, split="official", failures=(failure,)).write(path)
    with pytest.raises(UserError, match="split.group: expected that no group stands on two sides"):
        require_validated(path)
    Verdict(passed=True, split="official").write(path)
    require_validated(path)
