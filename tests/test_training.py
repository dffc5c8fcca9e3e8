import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from kinoflow import bundle
from kinoflow.config import Augment, Params
from kinoflow.data.clips import ClipSet
from kinoflow.reports.records import Finding, Verdict
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.training.batches import Batches, Feed
from kinoflow.training.fit import Progress, _built, _identity, train
from kinoflow.video import ClipSpec
from stages.train import require_validated
from tests.conftest import ROOT

SPEC = ClipSpec(6, 16, 16)
# of few layers, since compiling takes longer than training here
SMALL = {"model": "c3d", "options": {"filters": [8], "units": 8}}


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
    plain = {"epochs": 3, "batch_size": 8, "learning_rate": 0.001, "schedule": "cosine"}
    values["training"] |= plain | {"ema": 0, "patience": 8} | training
    values["augment"] = {"shift": 0.1, "brightness": 0.2}  # a flip would make the other class
    values["candidates"] = {"a": candidate or SMALL}
    return Params.model_validate(values)


def fit(params: Params, folder: Path, **sets: ClipSet) -> pd.DataFrame:
    clips = folder / "clips"
    sets = {"train": moving(clips, 32, 0), "val": moving(clips, 16, 1), **sets}
    train("a", params, ("right", "left"), sets, "data", folder / "m", folder / "c", folder / "k")
    return pd.read_csv(folder / "m" / "history.csv")


def test_a_model_of_time_learns_what_only_time_tells(
    defaults: Params, tmp_path: Path, within: Callable[[str, float, float], None]
) -> None:
    candidate = {"model": "r2plus1d", "options": {"filters": [8]}}
    params = settings(defaults, candidate, epochs=6, learning_rate=0.01)
    history = fit(params, tmp_path)
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
        fit(params, tmp_path / name)
    fit(params.model_copy(update={"seed": 8}), tmp_path / "other")
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
    fit(settings(defaults, epochs=1), tmp_path)
    (curve,) = (tmp_path / "c").rglob("val_loss.tsv")
    assert len(curve.read_text().splitlines()) == 1 + 1


RESUME = """
import os, signal, sys
from pathlib import Path
from kinoflow.system import errors
from kinoflow.system import terminal
from kinoflow import config
from kinoflow.training.fit import fit
terminal.quiet()
from tests import test_training as t
defaults = config.load(Path("params.yaml"))
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


def test_neither_is_one_that_began_with_other_weights_in_the_same_file(
    defaults: Params, tmp_path: Path
) -> None:
    weights = tmp_path / "vgg.weights.h5"
    options = {"backbone": "VGG16", "weights": str(weights)}
    params = settings(defaults, {"model": "frame_voting", "options": options})
    identities = set()
    for content in ("one", "other", "other"):
        weights.write_text(content)
        identities.add(_identity("a", params, "data", {}))
    assert len(identities) == 2


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="dropout needs it there")
def test_no_epoch_is_seeded_anew(
    defaults: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # TensorFlow forgets with each seed what it has optimized, and epochs take seconds longer
    seeds, seed = [], keras.utils.set_random_seed

    def seeded(number: int) -> None:
        seeds.append(number)
        seed(number)

    monkeypatch.setattr(keras.utils, "set_random_seed", seeded)
    clips = moving(tmp_path / "clips", 8, 0)
    fit(settings(defaults, epochs=3), tmp_path, train=clips, val=clips)
    assert len(seeds) == 2  # the model that trains, and the one that is stored


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


def feed(**augment: Any) -> Feed:
    return Feed(Augment(**augment), np.ones(2, np.float32), seed=7)


def test_an_epoch_shows_every_clip_once_in_a_new_order(tmp_path: Path) -> None:
    clipset = moving(tmp_path, 10, 0)
    batches = Batches(clipset, 2, 6, 4, feed())
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
    frames = np.concatenate([b[:, :, 0, 0, 0] for b, *_ in Batches(clipset, 2, 3, 4, feed())])
    assert {tuple(row) for row in frames // 2} == {(0, 1, 2)}
    assert len({tuple(row) for row in frames}) > 1
    still = np.concatenate([b[:, :, 0, 0, 0] for b, _ in Batches(clipset, 2, 3, 4)])
    assert {tuple(row) for row in still} == {(1, 3, 5)}


def test_short_clips_are_seen_without_their_padding(tmp_path: Path) -> None:
    clipset = moving(tmp_path, 8, 0)
    for video, clip in zip(clipset.videos, clipset.read(np.arange(8)), strict=True):
        clip[3:] = 0
        np.save(tmp_path / f"{video}.npy", clip)
    for fed in (None, feed(temporal_crop=0.5)):
        for wanted, shown in ((2, [True] * 2), (4, [True] * 3 + [False])):
            for batch in Batches(clipset, 2, wanted, 4, fed, masked=True):
                assert (batch[0].any(axis=(2, 3, 4)) == shown).all()


def test_a_clip_is_augmented_by_the_seed_the_epoch_and_itself_alone(tmp_path: Path) -> None:
    clipset = moving(tmp_path, 10, 0)
    alone, batched = (Batches(clipset, 2, 6, size, feed(noise=0.1)) for size in (1, 5))
    one = {int(row): alone[k][0][0] for k, row in enumerate(alone.order)}
    for k in range(len(batched)):
        for row, clip in zip(batched.order[5 * k :], batched[k][0], strict=False):
            np.testing.assert_array_equal(clip, one[int(row)])
    before = {row: clip.copy() for row, clip in one.items()}
    alone.on_epoch_end()
    after = {int(row): alone[k][0][0] for k, row in enumerate(alone.order)}
    assert not any(np.array_equal(before[row], after[row]) for row in before)


def test_classes_that_mirror_into_each_other_are_not_flipped(tmp_path: Path) -> None:
    clipset = moving(tmp_path, 40, 0)
    batches = Batches(clipset, 2, 6, 40, replace(feed(flip=True), unflipped=frozenset({1})))
    clips, targets, _ = batches[0]
    kept = clipset.read(batches.order)
    flipped = (clips == kept[:, :, :, ::-1]).all(axis=(1, 2, 3, 4))
    labels = targets.argmax(axis=1)
    assert not flipped[labels == 1].any()
    assert 3 < flipped[labels == 0].sum() < 17


def test_rare_classes_weigh_more_and_mixup_mixes_weights(tmp_path: Path) -> None:
    clipset = moving(tmp_path, 8, 0)
    weighing = replace(feed(mixup=1.0), class_weights=np.array([0.5, 2.0], np.float32))
    _, targets, weights = Batches(clipset, 2, 6, 8, weighing)[0]
    np.testing.assert_allclose(weights, targets @ [0.5, 2.0], rtol=1e-6)


def test_without_patience_all_epochs_are_run_and_the_last_is_kept(
    defaults: Params, tmp_path: Path
) -> None:
    noise = moving(tmp_path, 32, 3)
    noise = replace(noise, labels=np.random.default_rng(0).permutation(noise.labels))
    params = settings(defaults, epochs=6, patience=None, learning_rate=0.01)
    history = fit(params, tmp_path, train=noise)
    assert len(history) == 6
    assert bundle.load(tmp_path / "m").description.metrics["epoch"] == 6


def test_what_is_kept_is_the_average_of_weights_that_was_validated(
    defaults: Params, tmp_path: Path
) -> None:
    # so slow an average that after some steps it is still nearly what training began with
    params = settings(defaults, epochs=2, ema=0.999, learning_rate=0.01)
    history = fit(params, tmp_path / "averaged")
    model = bundle.load(tmp_path / "averaged" / "m")
    val = moving(tmp_path / "averaged" / "clips", 16, 1)

    def loss(probabilities: NDArray[np.float32]) -> float:
        return float(-np.log(probabilities[np.arange(16), val.labels]).mean())

    clips = val.read(np.arange(16))
    begun = _built("a", params, 2, "float32")(clips, training=False)
    begun_with = loss(keras.ops.convert_to_numpy(begun))
    assert history["val_loss"].iloc[0] == pytest.approx(begun_with, abs=0.05)
    smoothing = params.training.label_smoothing
    kept = loss(model.predict(clips))
    assert kept == pytest.approx(history["val_loss"].min(), abs=0.02 + smoothing)
    fit(settings(defaults, epochs=2, learning_rate=0.01), tmp_path / "last")
    average, last = (
        bundle.load(tmp_path / name / "m").model.get_weights()[0] for name in ("averaged", "last")
    )
    assert not np.allclose(average, last, atol=1e-3)


def test_a_killed_training_with_averages_ends_as_if_it_had_not_been(
    defaults: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = settings(defaults, epochs=3, ema=0.9)
    fit(params, tmp_path / "whole")

    def die(self: Progress, row: dict[str, float], seconds: float) -> None:
        if len(self.history) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "_print", die)
        with pytest.raises(KeyboardInterrupt):
            fit(params, tmp_path / "killed")
    fit(params, tmp_path / "killed")
    killed, whole = (tmp_path / run / "m" / "model.keras" for run in ("killed", "whole"))
    assert killed.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_model_trained_in_less_precision_answers_in_float32(
    precision: str, defaults: Params, tmp_path: Path
) -> None:
    candidate = {"model": "r2plus1d", "options": {"filters": [4]}}
    fit(settings(defaults, candidate, epochs=1, precision=precision), tmp_path)
    model = bundle.load(tmp_path / "m").model
    policies = {layer.dtype_policy.name for layer in model._flatten_layers()}
    assert policies <= {"float32", "uint8"}


def test_a_class_that_is_not_there_is_named(defaults: Params, tmp_path: Path) -> None:
    params = settings(defaults, {**SMALL, "augment": {"flip_except": ["up"]}})
    with pytest.raises(UserError, match="flip_except names up, which is no class: there are right"):
        fit(params, tmp_path)


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
    with pytest.raises(UserError, match="split.group: not so that no group stands on two sides"):
        require_validated(path)
    Verdict(passed=True, split="official").write(path)
    require_validated(path)
