"""Documents as stages write them, for tests of what reads them."""

from typing import Any

from kinoflow.reports.decision import Contender, Difference, Evidence, Recall
from kinoflow.reports.records import CandidateScores, Metrics, Scores, Winner


def scores(accuracy: float = 0.9, **more: float) -> Scores:
    """Every score is `accuracy` but for those given."""
    return Scores.model_validate(dict.fromkeys(Scores.model_fields, accuracy) | more)


def metrics(accuracy: float = 0.9, **more: Any) -> Metrics:
    both = scores(accuracy)
    values: dict[str, Any] = {
        "val": both,
        "test": both,
        "parameters": 12345,
        "size_mb": 1.5,
        "epochs": 3,
    }
    values["temperature"] = 1.25
    return Metrics.model_validate(values | more)


def candidate(accuracy: float = 0.9, **more: Any) -> CandidateScores:
    values = {"val": scores(accuracy), "parameters": 1000, "size_mb": 1.0, "latency_ms": 5.0}
    return CandidateScores.model_validate(values | more)


def winner(name: str, reason: str = "It is alone.") -> Winner:
    return Winner(winner=name, reason=reason, metric="val.accuracy", score=0.9, against={})


def contender(version: str, **more: Any) -> Contender:
    values = {"candidate": "lrcn", "accuracy": 0.8, "ece": 0.1, "latency_ms": 5.0, "size_mb": 2.0}
    return Contender.model_validate({"version": version, **values, **more})


def evidence(low: float = -0.01, high: float = 0.05, clips: int = 60, **more: Any) -> Evidence:
    difference = Difference(clips=clips, recordings=20, value=0.02, low=low, high=high)
    values: dict[str, Any] = {
        "champion": contender("old"),
        "challenger": contender("new"),
        "same_model": False,
        "clips": clips,
        "folds": False,
        "known": True,
        "left_out": 0,
        "unknown_clips": 0,
        "confidence": 0.95,
        "difference": difference,
        "recalls": (Recall(label="Run", found=9, clips=10, champion=0.9),),
    }
    return Evidence.model_validate(values | more)
