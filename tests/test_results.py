from pathlib import Path

import pytest

from kinoflow.reports import leaderboard
from kinoflow.system import files
from kinoflow.workspace import Workspace
from tests.conftest import ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A work tree with one evaluated candidate."""
    (Workspace(tmp_path).params).write_bytes((Workspace(ROOT).params).read_bytes())
    scores = {"accuracy": 0.9, "f1": 0.8}
    metrics = {"val": scores, "test": scores, "parameters": 12345, "size_mb": 1.5}
    files.write_json(Workspace(tmp_path).report("lrcn") / "metrics.json", metrics)
    timing = {"latency_ms": 3.25, "train_seconds": 60}
    files.write_json(Workspace(tmp_path).report("lrcn") / "timing.json", timing)
    files.write_json(Workspace(tmp_path).winner, {"winner": "lrcn", "reason": "It is alone."})
    return tmp_path


def test_scores_of_a_random_split_are_never_shown_without_a_word(root: Path) -> None:
    files.write_json(Workspace(root).validation, {"passed": True, "split": "stratified_group"})
    assert leaderboard.table(Workspace(root)).endswith("\n\nIt is alone.")
    files.write_json(Workspace(root).validation, {"passed": True, "split": "random"})
    *_, reason, caution = leaderboard.table(Workspace(root)).splitlines()
    assert reason == "It is alone."
    assert "random split" in caution
    assert "inflated" in caution


def test_only_whole_reports_of_candidates_are_listed(root: Path) -> None:
    expected = leaderboard.table(Workspace(root))
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
    assert [row["candidate"] for row in leaderboard.rows(Workspace(root))] == ["lrcn"]
    assert leaderboard.rows(Workspace(root / "nowhere")) == []
