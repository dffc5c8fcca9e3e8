from pathlib import Path

import pytest

from kinoflow import files, paths, results
from tests.conftest import ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A work tree with one evaluated candidate."""
    (tmp_path / paths.PARAMS).write_bytes((ROOT / paths.PARAMS).read_bytes())
    scores = {"accuracy": 0.9, "f1": 0.8}
    metrics = {"val": scores, "test": scores, "parameters": 12345, "size_mb": 1.5}
    files.write_json(tmp_path / paths.report("lrcn") / "metrics.json", metrics)
    timing = {"latency_ms": 3.25, "train_seconds": 60}
    files.write_json(tmp_path / paths.report("lrcn") / "timing.json", timing)
    files.write_json(tmp_path / paths.WINNER, {"winner": "lrcn", "reason": "It is alone."})
    return tmp_path


def test_scores_of_a_random_split_are_never_shown_without_a_word(root: Path) -> None:
    files.write_json(root / paths.VALIDATION, {"passed": True, "split": "stratified_group"})
    assert results.table(root).endswith("\n\nIt is alone.")
    files.write_json(root / paths.VALIDATION, {"passed": True, "split": "random"})
    *_, reason, caution = results.table(root).splitlines()
    assert reason == "It is alone."
    assert "random split" in caution
    assert "inflated" in caution


def test_only_whole_reports_of_candidates_are_listed(root: Path) -> None:
    expected = results.table(root)
    whole = root / paths.report("lrcn")
    # a kill between metrics.json and the rename, a kill after both, an evaluation without an end,
    # and a candidate that params.yaml no longer has
    for name, written in {
        ".partial-x": ["metrics.json"],
        ".partial-y": ["metrics.json", "timing.json"],
        "convlstm": ["metrics.json"],
        "dropped": ["metrics.json", "timing.json"],
    }.items():
        for file in written:
            files.write_json(root / paths.REPORTS / name / file, files.read_json(whole / file))
    assert results.table(root) == expected
    assert [row["candidate"] for row in results.rows(root)] == ["lrcn"]
    assert results.rows(root / "nowhere") == []
