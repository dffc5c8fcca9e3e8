import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kinoflow import bundle, files
from kinoflow.augment import augmentation
from kinoflow.clips import ClipSet
from kinoflow.console import UserError
from kinoflow.params import Params
from kinoflow.training import Batches, train
from kinoflow.video import ClipSpec
from stages.train import require_validated
from tests.conftest import ROOT

SPEC = ClipSpec(6, 16, 16)


def moving(folder: Path, count: int, seed: int) -> ClipSet:
    """Clips of a bright bar that moves right (class 0) or left (class 1)."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 60, (count, *SPEC.shape), dtype=np.uint8)
    labels = np.arange(count) % 2
    videos = tuple(f"{seed}-{number}.avi" for number in range(count))
    for clip, label in zip(drawn, labels, strict=True):
        start = rng.integers(0, 4)
        for frame in range(6):
            left = start + 2 * (frame if label == 0 else 5 - frame)
            clip[frame, :, left : left + 2] = 255
    folder.mkdir(parents=True, exist_ok=True)
    for video, clip in zip(videos, drawn, strict=True):
        np.save(folder / f"{video}.npy", clip)
    return ClipSet(folder, videos, labels)


def settings(defaults: Params, candidate: dict[str, Any] | None = None, **training: Any) -> Params:
    values = defaults.model_dump()
    values["clip"] = vars(SPEC)
    values["training"] |= {"epochs": 3, "batch_size": 8, **training}
    values["augment"]["flip"] = False  # it would turn one class into the other
    values["candidates"] = {"a": candidate or {"model": "lrcn"}}
    return Params.model_validate(values)


def fit(params: Params, folder: Path, **sets: ClipSet) -> pd.DataFrame:
    clips = folder / "clips"
    sets = {"train": moving(clips, 32, 0), "val": moving(clips, 16, 1), **sets}
    train("a", params, ("right", "left"), sets, "data", folder / "m", folder / "c", folder / "k")
    return pd.read_csv(folder / "m" / "history.csv")


def test_a_model_of_time_learns_what_only_time_tells(defaults: Params, tmp_path: Path) -> None:
    candidate = {"model": "r2plus1d", "options": {"filters": [8, 16]}}
    params = settings(defaults, candidate, epochs=15, learning_rate=0.01)
    history = fit(params, tmp_path)
    assert history["val_accuracy"].max() > 0.9
    loaded = bundle.load(tmp_path / "m")
    test = moving(tmp_path, 20, 2)
    answers = loaded.predict(test.read(np.arange(20)))
    assert (answers.argmax(axis=1) == test.labels).mean() > 0.9
    kept = loaded.description.metrics
    assert kept["epoch"] == history["val_loss"].argmin() + 1
    assert kept["val_loss"] == pytest.approx(history["val_loss"].min())


def test_the_same_seed_gives_the_same_bundle_and_another_does_not(
    defaults: Params, tmp_path: Path
) -> None:
    params = settings(defaults)
    for name in ("one", "two"):
        fit(params, tmp_path / name)
    fit(params.model_copy(update={"seed": 8}), tmp_path / "other")
    one, two, other = (
        files.md5(tmp_path / name / "m" / "model.keras") for name in ("one", "two", "other")
    )
    assert one == two != other


RESUME = """
import os, signal, sys
from pathlib import Path
from kinoflow import console, params, training
console.quiet()
from tests import test_training as t
defaults = params.load(Path("params.yaml"))
print_epoch = training.Progress._print
def die(self, row, taken):
    print_epoch(self, row, taken)
    if len(self.history) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
training.Progress._print = die
t.fit(t.settings(defaults, epochs=4), Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training leaves that was killed outright after two epochs."""
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run([sys.executable, "-c", RESUME, str(folder)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (folder / "m").exists()
    return folder


def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been(
    killed: Path, defaults: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(killed, tmp_path / "killed")
    params = settings(defaults, epochs=4)
    fit(params, tmp_path / "killed")
    assert "going on after epoch 2" in capsys.readouterr().err
    fit(params, tmp_path / "whole")
    for name in ("model.keras", "history.csv", "bundle.json"):
        resumed, whole = (tmp_path / run / "m" / name for run in ("killed", "whole"))
        assert resumed.read_bytes() == whole.read_bytes(), name
    curve = pd.read_csv(tmp_path / "killed" / "c" / "plots" / "metrics" / "loss.tsv", sep="\t")
    assert list(curve["step"]) == [0, 1, 2, 3]


def test_a_checkpoint_of_other_settings_is_not_taken_up(
    killed: Path, defaults: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(killed, tmp_path / "other")
    assert (tmp_path / "other" / "k" / "last" / "record.json").exists()
    assert len(fit(settings(defaults, epochs=3), tmp_path / "other")) == 3
    assert "going on" not in capsys.readouterr().err


def test_early_stopping_waits_for_patience_and_keeps_the_best(
    defaults: Params, tmp_path: Path
) -> None:
    # labels that cannot be learned: validation does not improve for long
    noise = moving(tmp_path, 32, 3)
    noise = replace(noise, labels=np.random.default_rng(0).permutation(noise.labels))
    params = settings(defaults, epochs=40, patience=2, learning_rate=0.01)
    history = fit(params, tmp_path, train=noise)
    assert len(history) < 40
    assert history["val_loss"].argmin() == len(history) - 3


def test_divergence_is_one_line(defaults: Params, tmp_path: Path) -> None:
    params = settings(defaults, optimizer="sgd", learning_rate=1e38, warmup=0.0)
    with pytest.raises(UserError, match=r"diverged in epoch \d.*lower training.learning_rate"):
        fit(params, tmp_path)


def test_an_epoch_shows_every_clip_once_in_a_new_order(tmp_path: Path) -> None:
    clipset = moving(tmp_path, 10, 0)
    batches = Batches(clipset, 2, 6, 4, 7)
    first = batches.order.copy()
    shown = np.concatenate([batches[k][0] for k in range(len(batches))])
    np.testing.assert_array_equal(shown, clipset.read(first))
    batches.on_epoch_end()
    assert sorted(batches.order) == sorted(first)
    assert list(batches.order) != list(first)


def test_fewer_frames_come_in_order_from_the_whole_clip(tmp_path: Path) -> None:
    clipset = moving(tmp_path, 8, 0)
    numbered = np.broadcast_to(np.arange(6, dtype=np.uint8)[:, None, None, None], SPEC.shape)
    for video in clipset.videos:
        np.save(tmp_path / f"{video}.npy", numbered)
    frames = np.concatenate([b[:, :, 0, 0, 0] for b, _ in Batches(clipset, 2, 3, 4, seed=1)])
    assert {tuple(row) for row in frames // 2} == {(0, 1, 2)}
    assert len({tuple(row) for row in frames}) > 1
    still = np.concatenate([b[:, :, 0, 0, 0] for b, _ in Batches(clipset, 2, 3, 4)])
    assert {tuple(row) for row in still} == {(1, 3, 5)}


def test_augmentation_is_the_same_for_every_frame_and_not_for_every_clip(
    defaults: Params,
) -> None:
    spec = ClipSpec(5, 32, 32)
    frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    still = np.broadcast_to(frame, (6, *spec.shape))
    model = augmentation(defaults.augment, spec.shape, 0)
    out = np.asarray(model(still, training=True))
    assert out.dtype == np.uint8
    for clip in out:
        for later in clip[1:]:
            np.testing.assert_array_equal(later, clip[0])
    assert len({clip.tobytes() for clip in out}) == 6
    np.testing.assert_array_equal(np.asarray(model(still, training=False)), still)


def test_training_needs_validated_data(tmp_path: Path) -> None:
    path = tmp_path / "validation.json"
    with pytest.raises(UserError, match="not validated"):
        require_validated(path)
    failure = {"table": "split", "column": "group", "meaning": "no group stands on two sides"}
    files.write_json(path, {"passed": False, "failures": [failure]})
    with pytest.raises(UserError, match="split.group: not so that no group stands on two sides"):
        require_validated(path)
    files.write_json(path, {"passed": True, "failures": []})
    require_validated(path)
