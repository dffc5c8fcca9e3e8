"""The stage `compress`: forms of a trained model, measured beside it, and one of them chosen."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from kinoflow import bundle
from kinoflow.bundle import MODEL
from kinoflow.compress import forms, measuring
from kinoflow.config import Params
from kinoflow.data import tables
from kinoflow.data.clips import ClipStore
from kinoflow.reports.records import Choice
from kinoflow.system.errors import UserError
from kinoflow.training import export
from kinoflow.workspace import Workspace
from tests import documents
from tests.conftest import RunStage
from tests.networks import spread
from tests.running import large_libraries_of
from tests.training import moving, recordings, settings

FORMS: dict[str, Any] = {
    "openvino": {"format": "openvino"},
    "int8": {"format": "openvino", "precision": "int8"},
    "half": {"format": "openvino", "prune": 0.5},
}
COMPRESS: dict[str, Any] = {
    "enabled": True,
    "margin": 0.5,
    "fine_tune": {"epochs": 1},
    "forms": FORMS,
}


def write(params: Params, **changes: Any) -> None:
    values = params.model_dump(mode="json")
    values["compress"] = COMPRESS | changes
    YAML().dump(values, Workspace().params)


@pytest.fixture
def tree(
    tmp_path: Path, defaults: Params, monkeypatch: pytest.MonkeyPatch, run_stage: RunStage
) -> Workspace:
    """The working folder, with a trained winner."""
    monkeypatch.chdir(tmp_path)
    workspace = Workspace()
    recordings(workspace)
    YAML().dump({"stages": {"compress": {"deps": ["work/split.csv"]}}}, Path("dvc.yaml"))
    write(settings(defaults, epochs=8, learning_rate=0.01))
    done(run_stage, "train", "a")
    documents.winner("a").write(workspace.winner)
    return workspace


def done(run_stage: RunStage, *stage: str) -> str:
    ran = run_stage(Path(), *stage)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def table(folder: Path, name: str) -> Any:
    schema = {
        "forms": tables.FORMS,
        "scores": tables.FORM_SCORES,
        "times": tables.FORM_TIMES,
    }[name]
    return tables.read(folder / f"{name}.csv", schema)


def test_forms_are_made_measured_and_chosen_from(
    tree: Workspace, defaults: Params, run_stage: RunStage
) -> None:
    done(run_stage, "compress")
    about = table(tree.compression, "forms").set_index("form")
    assert list(about.index) == ["original", *FORMS]
    assert list(about["problem"]) == [""] * 4
    assert about["bytes"]["original"] == (tree.bundle("a") / MODEL).stat().st_size
    assert about["parameters"]["half"] < 0.8 * about["parameters"]["original"]
    assert about["multiply_adds"]["half"] < 0.8 * about["multiply_adds"]["original"]
    times = table(tree.compression, "times").set_index("form")
    assert (times[["median_ms", "one_core_median_ms", "processor_ms", "peak_mb"]] > 0).all(
        axis=None
    )
    assert (times["p95_ms"] >= times["median_ms"]).all()
    # a process with OpenVINO alone needs less than one with TensorFlow
    assert times["peak_mb"]["openvino"] < times["peak_mb"]["original"]

    scores = table(tree.compression, "scores").set_index(["form", "side"])
    split = tables.read(tree.split, tables.SPLIT)
    videos = split.loc[split["split"] == "test", "video"]
    clips = np.stack([ClipStore(tree.clips).read(video) for video in videos])
    original = bundle.load(tree.bundle("a")).predict(clips)
    for name in FORMS:
        answers = tables.read(tree.form_answers("a", name), tables.PREDICTIONS)
        given = forms.load(tree.forms / "a" / name).predict(clips)
        np.testing.assert_allclose(answers.filter(like="p_"), given, atol=1e-6)
        row = scores.loc[name, "test"]
        assert row["accuracy"] == pytest.approx((answers["predicted"] == answers["label"]).mean())
        assert row["largest_change"] == pytest.approx(np.abs(given - original).max(), abs=1e-6)
        same = given.argmax(axis=1) == original.argmax(axis=1)
        assert row["agreement"] == pytest.approx(same.mean())
        before = scores.loc["original", "test"]["accuracy"]
        assert row["difference"] == pytest.approx(row["accuracy"] - before, abs=1e-6)
    assert scores.loc["openvino", "val"]["largest_change"] < 1e-4

    # what is chosen by holds no test scores
    assert set(table(tree.form_records, "scores")["side"]) == {"val"}
    done(run_stage, "choose")
    choice = Choice.read(tree.choice)
    assert choice.form in FORMS
    chosen = tree.form_answers("a", str(choice.form)).read_bytes()
    assert tree.choice_answers.read_bytes() == chosen

    # once more, only what changed is made anew, and what is not wanted goes
    kept = (tree.forms / "a" / "openvino" / "form.json").stat().st_mtime_ns
    half = (tree.forms / "a" / "half" / "form.json").stat().st_mtime_ns
    other = {"openvino": FORMS["openvino"], "half": {"format": "openvino", "prune": 0.25}}
    write(settings(defaults, epochs=8, learning_rate=0.01), forms=other, choose="none")
    done(run_stage, "compress")
    assert {path.name for path in (tree.forms / "a").iterdir()} == {
        *("openvino", "openvino.json", "half", "half.json")
    }
    assert (tree.forms / "a" / "openvino" / "form.json").stat().st_mtime_ns == kept
    assert (tree.forms / "a" / "half" / "form.json").stat().st_mtime_ns > half
    done(run_stage, "choose")
    assert Choice.read(tree.choice).form is None


def test_a_form_that_cannot_be_made_says_why_and_the_others_are_made(
    tree: Workspace, defaults: Params, run_stage: RunStage
) -> None:
    wanted = {"int8": FORMS["int8"], "openvino": FORMS["openvino"]}
    write(settings(defaults, epochs=8, learning_rate=0.01), forms=wanted, calibration=2)
    said = done(run_stage, "compress")
    line = "int8 is fitted to clips of training recordings, at least 8, and there are 2"
    assert f"compress: a int8: {line}" in said
    about = table(tree.compression, "forms").set_index("form")
    assert line in about["problem"]["int8"]
    assert about["problem"]["openvino"] == ""
    assert not (tree.forms / "a" / "int8").exists()
    done(run_stage, "choose")
    assert Choice.read(tree.choice).form in (None, "openvino")


def test_int8_leaves_in_float_what_it_would_spoil_or_trains_the_model_for_it(
    tree: Workspace, defaults: Params, run_stage: RunStage
) -> None:
    params = settings(defaults, epochs=12, learning_rate=0.01)
    recordings(tree, each=8)  # a judge wants more validation clips
    write(params, forms={"int8": FORMS["int8"]}, margin=0)
    done(run_stage, "train", "a")
    source = bundle.load(tree.bundle("a"))
    network = source.model
    spread(network, moving(tree.clips, 32, 0).read(np.arange(32)))
    history = (source.folder / bundle.HISTORY).read_text(encoding="utf-8")
    export.save(tree.bundle("a"), network, source.description, history)
    done(run_stage, "compress")
    note = table(tree.compression, "forms").set_index("form")["note"]["int8"]
    assert re.fullmatch(r"(trained with int8 in mind; )?\d of \d layers stay in float", note)
    val = table(tree.form_records, "scores").set_index("form")
    assert val["accuracy"]["original"] > 0.9
    assert val["difference"]["int8"] >= 0


def test_a_candidate_that_there_is_not_is_told_in_a_line(
    tree: Workspace, defaults: Params, run_stage: RunStage
) -> None:
    write(settings(defaults), candidates=["b"])
    ran = run_stage(Path(), "compress")
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1] == "error: no candidate 'b' in params.yaml; there are a"


def test_a_model_that_was_trained_on_all_clips_has_no_forms(
    tmp_path: Path, defaults: Params, run_stage: RunStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(settings(defaults, refit=True))
    ran = run_stage(tmp_path, "compress")
    assert ran.returncode == 2
    assert "compress.enabled and training.refit exclude each other" in ran.stderr


def test_switched_off_nothing_is_made_and_no_large_library_is_loaded(
    tmp_path: Path, defaults: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree = Workspace()
    write(settings(defaults), enabled=False)
    documents.winner("a").write(tree.winner)
    left = tree.forms / "a" / "openvino"
    left.mkdir(parents=True)
    assert large_libraries_of("compress") == set()
    assert large_libraries_of("choose") == set()
    assert [*tree.forms.iterdir()] == []
    assert Choice.read(tree.choice).form is None
    assert tables.read(tree.choice_answers, tables.PREDICTIONS).empty


def test_a_folder_that_answers_nothing_cannot_be_measured(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be measured: .*holds no trained model"):
        measuring.measure(tmp_path, np.zeros((1, 4, 8, 8, 3), np.uint8))
