"""The parts of the page that compare the candidates."""

from collections.abc import Hashable
from functools import partial
from typing import Any

import pandas as pd

from kinoflow.reports import comparison, page_figures
from kinoflow.reports.drawing import vector
from kinoflow.reports.frontier import Point, figure, pareto
from kinoflow.reports.published import PUBLISHED
from stages.report_cells import Cell, points
from stages.report_inputs import Candidate, Inputs

_COSTS = {
    "latency_ms": "milliseconds a clip, one at a time, without decoding",
    "size_mb": "MB of model.keras",
}


def leaderboard(inputs: Inputs) -> tuple[dict[str, Any], pd.DataFrame]:
    """What the section shows, and its numbers: a row for each candidate, the best first."""
    table = pd.DataFrame([_numbers(each) for each in inputs.candidates])
    place = [each.name for each in inputs.candidates].index(inputs.winner.name)
    return {
        "rows": [_cells(row) for row in table.to_dict("records")],
        "winner": place,
        "fronts": [_front(inputs, table, name, label) for name, label in _COSTS.items()],
    }, table


def published(inputs: Inputs) -> tuple[list[tuple[str, ...]], pd.DataFrame]:
    """What was published for the candidates' architectures: the rows, and the same as a table."""
    models = list(dict.fromkeys(each.model for each in inputs.candidates))
    rows: list[tuple[str, ...]] = [
        (
            model,
            f"{score.score:.3f}",
            score.metric,
            score.division,
            score.data,
            score.trained_before or "none",
            score.source,
        )
        for model in models
        for score in PUBLISHED.get(model, ())
    ]
    columns = ["architecture", "score", "metric", "split", "data", "trained before on", "source"]
    return rows, pd.DataFrame(rows, columns=columns)


def differences(inputs: Inputs) -> tuple[dict[str, Any], pd.DataFrame]:
    """What the section shows, and its numbers: a row for each pair of candidates."""
    names = [each.name for each in inputs.candidates]
    params = inputs.params
    table = comparison.of_reports(
        inputs.workspace, names, bootstrap=params.evaluation.bootstrap, seed=params.seed
    )
    own = table[(table["a"] == inputs.winner.name) | (table["b"] == inputs.winner.name)]
    return {
        "pairs": len(table),
        "apart": int((table["p_holm"] <= comparison.LEVEL).sum()),
        "winner": [_pair(row, inputs.winner.name) for row in own.to_dict("records")],
        "all": [_pair(row, row["a"]) for row in table.to_dict("records")],
        "figure": vector(partial(page_figures.differences, names, table)) if len(table) else None,
    }, table


def _numbers(each: Candidate) -> dict[str, Any]:
    val, test = each.metrics.val, each.metrics.test
    return {
        "candidate": each.name,
        "architecture": each.model,
        "val_accuracy": val.accuracy,
        "val_low": val.accuracy_low,
        "val_high": val.accuracy_high,
        "test_accuracy": test.accuracy,
        "test_low": test.accuracy_low,
        "test_high": test.accuracy_high,
        "f1": test.f1,
        "ece": test.ece,
        "parameters": each.metrics.parameters,
        "size_mb": each.metrics.size_mb,
        "latency_ms": each.timing.latency_ms,
        "video_seconds_per_s": each.timing.video_seconds_per_s,
        "train_seconds": each.timing.train_seconds,
    }


def _cells(row: dict[Hashable, Any]) -> list[Cell]:
    footage = row["video_seconds_per_s"]
    unknown = footage is None or footage != footage
    return [
        Cell(row["candidate"], row["candidate"]),
        *(
            Cell(
                f"{row[f'{side}_accuracy']:.3f}",
                row[f"{side}_accuracy"],
                f"{row[f'{side}_low']:.3f} to {row[f'{side}_high']:.3f}",
            )
            for side in ("val", "test")
        ),
        Cell(f"{row['f1']:.3f}", row["f1"]),
        Cell(f"{row['ece']:.3f}", row["ece"]),
        Cell(f"{row['parameters']:,}", row["parameters"]),
        Cell(f"{row['size_mb']:.2f}", row["size_mb"]),
        Cell(f"{row['latency_ms']:.1f}", row["latency_ms"]),
        Cell("–", -1) if unknown else Cell(f"{footage:,.0f}", footage),
        Cell(f"{row['train_seconds']:,.0f}", row["train_seconds"]),
    ]


def _front(inputs: Inputs, table: pd.DataFrame, name: str, label: str) -> dict[str, Any]:
    models = [
        Point(
            row["candidate"],
            row[name],
            row["val_accuracy"],
            row["val_low"],
            row["val_high"],
            winner=row["candidate"] == inputs.winner.name,
        )
        for row in table.to_dict("records")
    ]
    return {
        "cost": label,
        "names": [point.name for point in pareto(models)],
        "figure": vector(partial(figure, models, label)),
    }


def _pair(row: dict[Hashable, Any], first: str) -> tuple[str, ...]:
    """A row of the table of pairs, with the model called `first` named first."""
    sign, other = (1, row["b"]) if row["a"] == first else (-1, row["a"])
    low, high = sorted((sign * row["low"], sign * row["high"]))
    return (
        f"{first} – {other}",
        points(sign * row["difference"]),
        f"{points(low)} to {points(high)}",
        f"{row['p']:.3g}",
        f"{row['p_holm']:.3g}",
        row["verdict"],
    )
