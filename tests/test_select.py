from typing import Any

import pytest

from kinoflow.config import Params, Selection
from kinoflow.reports.records import CandidateScores
from kinoflow.system.errors import UserError
from stages.select import select
from tests.documents import candidate, scores


def report(accuracy: float, parameters: int = 1000, **more: Any) -> CandidateScores:
    return candidate(val=scores(accuracy, f1=1 - accuracy), parameters=parameters, **more)


def rules(defaults: Params, **changes: Any) -> Selection:
    return defaults.selection.model_copy(update=changes)


def test_the_best_on_validation_wins_and_the_reason_says_so(defaults: Params) -> None:
    chosen = select({"a": report(0.7), "b": report(0.9), "c": report(0.8)}, defaults.selection)
    assert chosen.winner == "b"
    assert chosen.reason == "b wins with validation accuracy 0.900, 0.100 ahead of c (0.800)"
    assert list(chosen.against) == ["c", "a"]


def test_a_tie_goes_to_the_smaller_model(defaults: Params) -> None:
    reports = {"big": report(0.902, 5000), "small": report(0.9, 1000)}
    chosen = select(reports, rules(defaults, tie=0.005))
    assert chosen.winner == "small"
    assert "level with big, and the smallest (1,000 parameters)" in chosen.reason
    assert select(reports, rules(defaults, tie=0.001)).winner == "big"


def test_limits_exclude_and_are_named(defaults: Params) -> None:
    reports = {"slow": report(0.9, latency_ms=50.0), "fast": report(0.8)}
    chosen = select(reports, rules(defaults, max_latency_ms=20.0))
    assert chosen.winner == "fast"
    limit = "takes 50 ms a clip, over 20"
    assert chosen.reason == f"fast wins with validation accuracy 0.800, with no rival; slow {limit}"
    assert chosen.against["slow"].refused == limit
    reports = {"large": report(0.9, size_mb=50.0), "small": report(0.8)}
    assert select(reports, rules(defaults, max_size_mb=20.0)).winner == "small"
    with pytest.raises(UserError, match="no candidate keeps the limits.*small is 1 MB, over 0.5"):
        select(reports, rules(defaults, max_size_mb=0.5))


def test_the_metric_is_a_choice(defaults: Params) -> None:
    chosen = select({"a": report(0.7), "b": report(0.9)}, rules(defaults, metric="f1"))
    assert (chosen.winner, chosen.metric) == ("a", "val.f1")
