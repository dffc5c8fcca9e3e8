"""The part of the page about the winner: its training, its scores, its errors, its calibration."""

from collections.abc import Hashable
from functools import partial
from typing import Any

import pandas as pd

from kinoflow.data import tables
from kinoflow.reports import metrics, page_figures
from kinoflow.reports.drawing import vector
from kinoflow.reports.records import Accuracy, Scores
from stages.report_inputs import Candidate, Inputs

_CONFUSED = 10  # pairs of classes that the page lists


def winner(inputs: Inputs) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """What the section shows, and its numbers by the name of their file."""
    best, labels = inputs.winner, inputs.labels
    predictions = best.predictions
    matrix = metrics.confusion(
        inputs.indices(predictions["label"]), inputs.indices(predictions["predicted"]), len(labels)
    )
    per_class = best.table("per_class", tables.PER_CLASS).sort_values(
        ["f1", "label"], kind="stable", ignore_index=True
    )
    confused = best.table("most_confused", tables.MOST_CONFUSED)
    reliability = best.table("reliability", tables.RELIABILITY)
    kept = int(inputs.description.metrics["epoch"])
    counts = pd.DataFrame(matrix, columns=list(labels))
    counts.insert(0, "actual", pd.Series(labels))
    shown = {
        "kept": kept,
        "epochs": len(inputs.history),
        "curves": vector(partial(page_figures.learning_curves, inputs.history, kept)),
        "confusion": vector(partial(page_figures.confusion, matrix, labels)),
        "per_class": [
            (
                row["label"],
                *(f"{row[name]:.3f}" for name in ("precision", "recall", "f1")),
                row["clips"],
            )
            for row in per_class.to_dict("records")
        ],
        "worst": per_class.iloc[0].to_dict(),
        "confused": [
            (row["label"], row["taken_for"], row["clips"], f"{100 * row['rate']:.0f} %")
            for row in confused.head(_CONFUSED).to_dict("records")
        ],
        "more_confused": max(0, len(confused) - _CONFUSED),
        "temperature": best.metrics.temperature,
        "ece": best.metrics.test.ece,
        "ece_before": best.metrics.test.ece_uncalibrated,
        "reliability": vector(partial(page_figures.reliability, reliability)),
    }
    return shown, {
        "learning_curves": inputs.history,
        "confusion": counts,
        "per_class": per_class,
        "most_confused": confused,
        "reliability": reliability,
    }


def orders(inputs: Inputs) -> tuple[dict[str, Any] | None, dict[str, pd.DataFrame]]:
    """Whether the models need time: what the section shows, and its numbers.

    There is nothing to show if `evaluation.orders` was off.
    """
    measured = [each for each in inputs.candidates if each.metrics.time]
    if not measured:
        return None, {}
    overall = pd.DataFrame([row for each in measured for row in _orders(each)])
    found = {"frame_orders": overall}
    shown: dict[str, Any] = {
        "rows": [
            (name, *(_with_interval(row) for row in rows.to_dict("records")))
            for name, rows in overall.groupby("candidate", sort=False)
        ],
        "by_class": None,
    }
    by_class = {each.name: each.table("time", tables.TIME) for each in measured}
    found["frame_orders_by_class"] = pd.concat(
        [table.assign(candidate=name) for name, table in by_class.items()]
    )
    shown["told_by"] = [
        (name, *(", ".join(labels) or "–" for labels in _told_by(table).values()))
        for name, table in by_class.items()
    ]
    if inputs.winner.name in by_class:
        table = by_class[inputs.winner.name]
        shown["by_class"] = vector(partial(page_figures.frame_orders, table))
    return shown, found


def more_footage(inputs: Inputs) -> tuple[dict[str, Any] | None, dict[str, pd.DataFrame]]:
    """What the winner scores if it is trained on fewer recordings; nothing if it was not asked for.

    The words compare the test scores with all and with half of the recordings.
    """
    table = inputs.learning_curve
    if table.empty:
        return None, {}
    test = table[table["side"] == "test"].sort_values("fraction")
    half, whole = test.iloc[-2], test.iloc[-1]
    return {
        "rows": [
            (
                row["side"],
                f"{100 * row['fraction']:.0f} %",
                row["recordings"],
                row["clips"],
                _with_interval(row),
            )
            for row in table.to_dict("records")
        ],
        "gain": 100 * (whole["accuracy"] - half["accuracy"]),
        # a gain that the intervals do not hide
        "helps": bool(whole["low"] > half["accuracy"]),
        "figure": vector(
            partial(
                page_figures.fractions,
                {str(side): rows for side, rows in table.groupby("side", sort=False)},
                "fraction",
                "accuracy",
                ("share of the training recordings", "accuracy"),
            )
        ),
    }, {"more_footage": table}


def _orders(each: Candidate) -> list[dict[str, Any]]:
    time = each.metrics.time
    assert time is not None
    scores: dict[str, Scores | Accuracy] = {
        "as_is": each.metrics.test,
        "shuffled": time.shuffled,
        "reversed": time.reversed,
        "frozen": time.frozen,
    }
    return [
        {
            "candidate": each.name,
            "order": order,
            "accuracy": found.accuracy,
            "low": found.accuracy_low,
            "high": found.accuracy_high,
        }
        for order, found in scores.items()
    ]


def _with_interval(row: dict[Hashable, Any]) -> str:
    return f"{row['accuracy']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


# how many of a class's clips, as a share, may be lost before the order of frames is said to matter
_LOST = 0.2
# of which share of its clips a class must be found at all
_FOUND = 0.5


def _told_by(table: pd.DataFrame) -> dict[str, list[str]]:
    """Which classes a still tells, which motion, which only the order of frames, which nothing."""
    found: dict[str, list[str]] = {"still": [], "motion": [], "order": [], "nothing": []}
    for row in table.to_dict("records"):
        if row["as_is"] < _FOUND:
            by = "nothing"
        elif row["frozen"] >= row["as_is"] - _LOST:
            by = "still"
        elif min(row["shuffled"], row["reversed"]) < row["as_is"] - _LOST:
            by = "order"
        else:
            by = "motion"
        found[by].append(row["label"])
    return found
