from pathlib import Path

import pytest

from kinoflow import files, paths, results


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A work tree with one evaluated candidate."""
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
