"""Trainings on folds, on train and val together, and on fewer recordings."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from kinoflow import bundle
from kinoflow.config import Params
from kinoflow.data import tables
from kinoflow.data.clips import ClipStore
from kinoflow.reports.records import Refit, Verdict
from kinoflow.workspace import Workspace
from stages.learning_curve import fewer
from tests import documents
from tests.conftest import ROOT, RunStage
from tests.running import large_libraries_of
from tests.training import LABELS, recordings, settings

# trains on the folds, and kills itself outright in the second fold
KILLED = """
import runpy, sys
from kinoflow.system import terminal
terminal.quiet()
from tests import test_checkpoints
test_checkpoints.kill_itself(after=2, training=2)
sys.argv = ["crossvalidate", "a"]
runpy.run_module("stages.crossvalidate", run_name="__main__")
"""


@pytest.fixture
def tree(tmp_path: Path, defaults: Params, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The working folder, as a pipeline leaves it before training: two folds."""
    monkeypatch.chdir(tmp_path)
    workspace = Workspace()
    split = recordings(workspace)
    number = np.arange(24) // 4
    folds = []
    for fold in (1, 2):
        sides = np.select([number % 2 == fold % 2, number == fold - 1], ["test", "val"], "train")
        folds.append(split.assign(fold=fold, split=sides))
    tables.write(pd.concat(folds), workspace.folds, tables.FOLDS)
    Verdict(passed=True, split="group_kfold").write(workspace.validation)
    deps = {"deps": ["work/folds.csv"]}
    stages = {"crossvalidate": {"do": deps}, "refit": deps, "learning_curve": deps}
    YAML().dump({"stages": stages}, Path("dvc.yaml"))
    write(settings(defaults, epochs=3), split={"method": "group_kfold", "folds": 2})
    return workspace


def write(params: Params, **changes: dict[str, object]) -> None:
    values = params.model_dump(mode="json")
    for section, changed in changes.items():
        values[section] |= changed
    YAML().dump(values, Workspace().params)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def run(run_stage: RunStage, *stage: str) -> str:
    done = run_stage(Path(), *stage)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_only_folds_that_changed_are_trained_again_and_a_kill_loses_an_epoch_at_most(
    tree: Workspace, run_stage: RunStage
) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    folder = tree.fold_models("a")
    assert {path.name for path in folder.iterdir()} == {"1", "1.json"}
    first = contents(folder / "1")
    done = run_stage(Path(), "crossvalidate", "a")
    assert "fold 1 of 2: kept" in done.stdout
    assert "going on after epoch 2" in done.stderr
    made = contents(folder)
    assert contents(folder / "1") == first
    assert {*made} > {"1.json", "2.json", "1/model.keras", "2/model.keras", "2/bundle.json"}

    # one clip of the second fold is used to choose the epoch, and no longer to train
    table = tables.read(tree.folds, tables.FOLDS)
    other = table.copy()
    row = other.index[(other["fold"] == 2) & (other["split"] == "train")][0]
    other.loc[row, "split"] = "val"
    tables.write(other, tree.folds, tables.FOLDS)
    said = run(run_stage, "crossvalidate", "a")
    assert "fold 1 of 2: kept" in said
    assert "fold 2 of 2: to be trained" in said
    assert contents(folder / "1") == first
    assert contents(folder / "2") != {k[2:]: v for k, v in made.items() if k.startswith("2/")}

    # trained in one go, the second fold gives the same bytes as after the kill
    tables.write(table, tree.folds, tables.FOLDS)
    run(run_stage, "crossvalidate", "a")
    assert contents(folder) == made
    assert bundle.load(folder / "2").description.temperature != 1


def test_without_folds_nothing_is_trained_and_no_library_that_trains_is_loaded(
    tree: Workspace, defaults: Params
) -> None:
    write(settings(defaults))
    left = tree.fold_models("a") / "1"
    left.mkdir(parents=True)
    tree.refit.mkdir(parents=True)
    for stage in (["crossvalidate", "a"], ["refit"], ["learning_curve"]):
        assert large_libraries_of(*stage) == set()
    assert [*tree.fold_models("a").iterdir()] == []
    assert Refit.read(tree.refit_record) == Refit(refit=False)
    assert tables.read(tree.refit_answers, tables.PREDICTIONS).empty
    assert tables.read(tree.learning_curve, tables.LEARNING_CURVE).empty


def test_the_winner_is_trained_once_more_with_its_validation_clips(
    tree: Workspace, defaults: Params, run_stage: RunStage
) -> None:
    # validation clips with each other's labels, so that what is learned makes them worse
    catalog = tables.read(tree.catalog, tables.CATALOG)
    wrong = catalog["group"].str.endswith("0")
    catalog.loc[wrong, "label"] = catalog["label"].map(dict(zip(LABELS, LABELS[::-1], strict=True)))
    tables.write(catalog, tree.catalog, tables.CATALOG)
    params = settings(defaults, epochs=5, patience=1, learning_rate=0.01, schedule="constant")
    write(params)
    run(run_stage, "train", "a")
    before = bundle.load(tree.bundle("a")).description
    documents.winner("a").write(tree.winner)
    values = params.model_dump(mode="json")
    values["training"]["refit"] = values["evaluation"]["learning_curve"] = True
    YAML().dump(values, tree.params)
    assert "train and val together: to be trained" in run(run_stage, "refit")
    model = bundle.load(tree.refit / "a")
    described = model.description
    assert described.refit
    assert described.trained_on == ("train", "val")
    assert described.temperature == before.temperature
    history = tables.read(model.folder / bundle.HISTORY, tables.HISTORY)
    assert len(history) == described.metrics["epoch"] == before.metrics["epoch"] < 5
    assert {*history.columns} == {"epoch", "accuracy", "loss"}
    record = Refit.read(tree.refit_record)
    assert (record.epochs, record.clips) == (before.metrics["epoch"], 16)
    answers = tables.read(tree.refit_answers, tables.PREDICTIONS)
    split = tables.read(tree.split, tables.SPLIT)
    assert list(answers["video"]) == list(split["video"][split["split"] == "test"])
    assert record.test is not None
    assert record.test.accuracy == pytest.approx((answers["predicted"] == answers["label"]).mean())
    clip = ClipStore(tree.clips).read(answers["video"][0])
    (given,) = model.predict(clip[None])
    row = answers[[f"p_{label}" for label in sorted(LABELS)]].iloc[0].to_numpy(np.float32)
    np.testing.assert_array_equal(given, row)
    made = contents(tree.refit)
    assert "together: kept" in run(run_stage, "refit")
    assert contents(tree.refit) == made

    # and on a quarter and a half of the recordings
    tables.write(tables.empty(tables.FOLDS), tree.folds, tables.FOLDS)
    run(run_stage, "learning_curve")
    curve = tables.read(tree.learning_curve, tables.LEARNING_CURVE)
    assert list(curve["fraction"]) == [0.25, 0.25, 0.5, 0.5, 1, 1]
    assert list(curve["side"]) == ["val", "test"] * 3
    assert list(curve["recordings"][::2]) == [2, 4, 6]
    assert list(curve["clips"][::2]) == [4, 8, 12]
    assert (curve["low"] <= curve["accuracy"]).all()
    assert (curve["accuracy"] <= curve["high"]).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_smaller_fraction_of_the_recordings_is_part_of_a_larger_one(seed: int) -> None:
    rows = [
        {"video": f"{c}{g}-{n}", "label": c, "group": f"{c}{g}", "split": side}
        for c, groups in (("A", 9), ("B", 3))
        for g in range(groups)
        for n in range(2)
        for side in (["val"] if g == 0 else ["train"])
    ]
    table = pd.DataFrame(rows)
    parts = [fewer(table, fraction, seed) for fraction in (0.25, 0.5, 1.0)]
    for part in parts:
        assert part[part["split"] == "val"]["video"].tolist() == ["A0-0", "A0-1", "B0-0", "B0-1"]
    kept = [part[part["split"] == "train"] for part in parts]
    assert {*kept[0]["video"]} < {*kept[1]["video"]} < {*kept[2]["video"]}
    assert [each.groupby("label")["group"].nunique().to_dict() for each in kept] == [
        {"A": 2, "B": 1},
        {"A": 4, "B": 1},
        {"A": 8, "B": 2},
    ]
    assert parts[2].equals(table)
