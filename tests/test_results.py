import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from kinoflow.reports import leaderboard
from kinoflow.reports.records import Refit, Timing, Verdict
from kinoflow.system import files
from kinoflow.workspace import Workspace
from tests import documents
from tests.conftest import ROOT

TABLE = """\
candidate  val acc  test acc  95% interval  macro F1  parameters    MB  ms/clip  train s
----------------------------------------------------------------------------------------
* lrcn       0.900     0.900   0.900-0.900     0.900      12,345  1.50      3.2       60

It is alone."""


def set_candidates(workspace: Workspace, *names: str) -> None:
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    params["candidates"] = {name: {"model": name} for name in names}
    YAML().dump(params, workspace.params)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A work tree with one evaluated candidate."""
    workspace = Workspace(tmp_path)
    set_candidates(workspace, "lrcn")
    documents.metrics().write(workspace.report("lrcn") / "metrics.json")
    Timing(latency_ms=3.25, train_seconds=60).write(workspace.report("lrcn") / "timing.json")
    documents.winner("lrcn").write(workspace.winner)
    return tmp_path


def test_the_table_shows_the_scores_and_the_winner(root: Path) -> None:
    assert leaderboard.table(Workspace(root)) == TABLE


def test_scores_of_a_random_split_are_never_shown_without_a_word(root: Path) -> None:
    workspace = Workspace(root)
    Verdict(passed=True, split="stratified_group").write(workspace.validation)
    assert leaderboard.table(workspace) == TABLE
    Verdict(passed=True, split="random").write(workspace.validation)
    *_, reason, caution = leaderboard.table(workspace).splitlines()
    assert reason == "It is alone."
    assert "random split" in caution
    assert "inflated" in caution


def test_scores_from_folds_and_a_winner_that_was_trained_once_more_are_explained(
    root: Path,
) -> None:
    workspace = Workspace(root)
    documents.metrics(folds=5).write(workspace.report("lrcn") / "metrics.json")
    Refit(refit=False).write(workspace.refit_record)
    folds = leaderboard.table(workspace).splitlines()[-1]
    assert folds.startswith("Test scores are from 5 folds: they are of all clips")
    documents.metrics().write(workspace.report("lrcn") / "metrics.json")
    again = Refit(refit=True, candidate="lrcn", epochs=7, trained_on=("train", "val"), clips=40)
    again.write(workspace.refit_record)
    said = leaderboard.table(workspace).splitlines()[-1]
    assert said == (
        "lrcn is packaged as trained once more, for 7 epochs on the 40 clips of train and val; no "
        "clips are left to test it on."
    )
    again.model_copy(update={"test": documents.scores(0.75)}).write(workspace.refit_record)
    said = leaderboard.table(workspace).splitlines()[-1]
    assert said.endswith("; its test accuracy is 0.750 (0.750 to 0.750).")
    again.model_copy(update={"candidate": "c3d"}).write(workspace.refit_record)
    assert leaderboard.table(workspace) == TABLE


def test_only_whole_reports_of_candidates_are_listed(root: Path) -> None:
    set_candidates(Workspace(root), "lrcn", "convlstm")
    expected = leaderboard.table(Workspace(root))
    assert expected == f"{TABLE}\nNot up to date: convlstm; run `make repro`."
    whole = Workspace(root).report("lrcn")
    # a kill between metrics.json and the rename, a kill after both, an evaluation without an end,
    # and a candidate that params.yaml no longer has
    for name, written in {
        ".partial-x": ["metrics.json"],
        ".partial-y": ["metrics.json", "timing.json"],
        "convlstm": ["metrics.json"],
        "dropped": ["metrics.json", "timing.json"],
    }.items():
        for file in written:
            files.write_json(Workspace(root).reports / name / file, files.read_json(whole / file))
    assert leaderboard.table(Workspace(root)) == expected
    assert [row["candidate"] for row in leaderboard.results(Workspace(root)).rows] == ["lrcn"]
    assert leaderboard.results(Workspace(root / "nowhere")) == leaderboard.Results([], None, [])


def results(root: Path, **environment: str) -> str:
    """What `kinoflow results` prints into a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "kinoflow.cli", "results"],
        cwd=root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_pipe_gets_every_value_whole_however_narrow_the_terminal(root: Path) -> None:
    assert results(root, COLUMNS="40", PYTHONIOENCODING="ascii") == TABLE + "\n"


@pytest.mark.parametrize("columns", [120, 80, 40])
def test_a_terminal_gets_every_value_whole(root: Path, columns: int) -> None:
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "kinoflow.cli", "results"],
        cwd=root,
        env=os.environ | {"COLUMNS": str(columns), "TERM": "xterm"},
        stdout=theirs,
        check=True,
    )
    os.close(theirs)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", os.read(ours, 100_000).decode()).replace("\r", "")
    os.close(ours)
    row = "* lrcn 0.900 0.900 0.900-0.900 0.900 12,345 1.50 3.2 60"
    assert row in [" ".join(line.split()) for line in shown.splitlines()]
    assert "It is alone." in shown
    if columns == 80:
        assert max(map(len, shown.splitlines())) <= columns
