import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import pytest

from kinoflow.config import Params
from kinoflow.system import files
from kinoflow.training.checkpoints import Checkpoints, code_md5, identity
from kinoflow.training.export import weights_md5
from kinoflow.training.history import History
from tests.conftest import ROOT
from tests.training import moving, settings, train

# trains four epochs, and kills itself outright once the second is saved
KILLED = """
import sys
from pathlib import Path
from kinoflow import config
from kinoflow.system import terminal
terminal.quiet()
from tests import test_checkpoints, training
test_checkpoints.kill_itself(after=2)
training.train(training.settings(config.load(Path("params.yaml")), epochs=4), Path(sys.argv[1]))
"""
BUNDLE = ("model.keras", "history.csv", "bundle.json")


def kill_itself(after: int, training: int = 1) -> None:
    """Have this process killed as soon as a checkpoint of so many epochs is saved.

    If the process trains several times, the training of this number counts.
    """
    save, begun = Checkpoints.save, 0

    def saved(self: Checkpoints, model: keras.Model, history: History) -> None:
        nonlocal begun
        save(self, model, history)
        begun += len(history) == 1
        if len(history) == after and begun == training:
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoints.save = saved  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training leaves that was killed outright after two epochs."""
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (folder / "m").exists()
    return folder


def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been(
    killed: Path, defaults: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(killed, tmp_path / "killed")
    params = settings(defaults, epochs=4)
    train(params, tmp_path / "killed")
    assert "going on after epoch 2" in capsys.readouterr().err
    train(params, tmp_path / "whole")
    for name in BUNDLE:
        resumed, whole = (tmp_path / run / "m" / name for run in ("killed", "whole"))
        assert resumed.read_bytes() == whole.read_bytes(), name
    curve = pd.read_csv(tmp_path / "killed" / "c" / "plots" / "metrics" / "loss.tsv", sep="\t")
    assert list(curve["step"]) == [1, 2, 3, 4]
    assert not (tmp_path / "killed" / "k").exists()


@pytest.fixture(scope="module")
def averaging(defaults: Params) -> Params:
    return settings(defaults, epochs=3, ema=0.9)


@pytest.fixture(scope="module")
def averaged(averaging: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training leaves that keeps averages of its weights and was not killed."""
    folder = tmp_path_factory.mktemp("averaged")
    train(averaging, folder)
    return folder


@pytest.mark.parametrize("when", ["between epochs", "while the checkpoint is written"])
def test_so_does_one_that_keeps_averages_of_its_weights(
    when: str,
    averaging: Params,
    averaged: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save, replacing_folder = Checkpoints.save, files.replacing_folder
    written = []

    def save_and_die(self: Checkpoints, model: keras.Model, history: History) -> None:
        save(self, model, history)
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def die_the_second_time(folder: Path) -> Iterator[Path]:
        written.append(folder)
        if len(written) == 2:  # when the best weights are those of the second epoch
            raise KeyboardInterrupt
        with replacing_folder(folder) as partial:
            yield partial

    with monkeypatch.context() as patch:
        if when == "between epochs":
            patch.setattr(Checkpoints, "save", save_and_die)
        else:
            patch.setattr(files, "replacing_folder", die_the_second_time)
        with pytest.raises(KeyboardInterrupt):
            train(averaging, tmp_path / "killed")
    assert files.read_json(tmp_path / "killed" / "k" / "last" / "record.json")["best_epoch"] == 0
    train(averaging, tmp_path / "killed")
    for name in BUNDLE:
        resumed, whole = tmp_path / "killed" / "m" / name, averaged / "m" / name
        assert resumed.read_bytes() == whole.read_bytes(), name


def test_a_checkpoint_of_other_settings_is_not_taken_up(
    killed: Path, defaults: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(killed, tmp_path / "other")
    assert (tmp_path / "other" / "k" / "last" / "record.json").exists()
    assert len(train(settings(defaults, epochs=3), tmp_path / "other")) == 3
    assert "going on" not in capsys.readouterr().err


def test_neither_is_one_that_began_with_other_weights_in_the_same_file(
    defaults: Params, tmp_path: Path
) -> None:
    weights = tmp_path / "vgg.weights.h5"
    options = {"backbone": "VGG16", "weights": str(weights)}
    run = settings(defaults, {"model": "frame_voting", "options": options}).resolve("a")
    identities = set()
    for content in ("one", "other", "other"):
        weights.write_text(content)
        md5 = weights_md5(options)
        identities.add(identity(run, data="", code="", weights=md5, styles=(), versions={}))
    assert len(identities) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"clip": {"frames": 6, "height": 16, "width": 16, "padding": "mask"}},
        {"training": {"batch_size": 4}},
        {"augment": {"noise": 0.1}},
        {"candidates": {"a": {"model": "c3d"}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_training_depends_on_is_in_its_identity(
    change: dict[str, Any], defaults: Params
) -> None:
    before = settings(defaults)
    values = before.model_dump()
    for key, value in change.items():
        values[key] = values[key] | value if isinstance(value, dict) else value
    after = Params.model_validate(values)

    def identified(
        params: Params,
        data: str = "data",
        code: str = "code",
        version: str = "1",
        styles: tuple[str, ...] = (),
    ) -> str:
        run, versions = params.resolve("a"), {"keras": version}
        return identity(run, data=data, code=code, weights=None, styles=styles, versions=versions)

    assert identified(before) == identified(settings(defaults))
    assert identified(before) != identified(after)
    assert identified(before) != identified(before, data="other")
    assert identified(before) != identified(before, code="other")
    assert identified(before) != identified(before, version="2")
    assert identified(before) != identified(before, styles=("md5 of a network",))


def test_a_change_to_a_model_or_to_training_is_another_code(tmp_path: Path) -> None:
    package = ROOT / "kinoflow"
    assert code_md5() == code_md5(package)
    for changed in ("models/__init__.py", "training/augment.py"):
        shutil.rmtree(tmp_path, ignore_errors=True)
        shutil.copytree(package, tmp_path, ignore=shutil.ignore_patterns("__pycache__"))
        assert code_md5(tmp_path) == code_md5()
        with (tmp_path / changed).open("a") as file:
            file.write("# changed")
        assert code_md5(tmp_path) != code_md5(), changed


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
    train(settings(defaults, epochs=3), tmp_path, train=clips, val=clips)
    assert len(seeds) == 2  # the model that trains, and the one that is stored
