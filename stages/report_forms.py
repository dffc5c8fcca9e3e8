"""The part of the page on smaller and faster forms of models."""

from collections.abc import Hashable
from functools import partial
from typing import Any

import pandas as pd

from kinoflow.compress.settings import ORIGINAL
from kinoflow.reports.drawing import vector
from kinoflow.reports.frontier import Point, figure, pareto
from kinoflow.reports.records import Choice
from stages.report_cells import Cell, points
from stages.report_inputs import Inputs

_COST = "milliseconds a clip, with all cores, without decoding"


def forms(inputs: Inputs) -> tuple[dict[str, Any] | None, dict[str, pd.DataFrame]]:
    """What the section shows, and its numbers; nothing if no form was made."""
    found = inputs.compression
    if found is None:
        return None, {}
    about, scores, choice = found.forms, found.scores, found.choice
    key = ["candidate", "form"]
    by_side = [
        scores[scores["side"] == side]
        .drop(columns="side")
        .rename(columns={name: f"{side}_{name}" for name in scores.columns if name not in key})
        for side in ("val", "test")
    ]
    table = about[about["problem"] == ""]
    for other in (found.times, *by_side):
        table = table.merge(other, on=key, how="left")
    return {
        "chosen": choice.form,
        "reason": choice.reason,
        "candidates": [
            _candidate(str(name), rows.reset_index(drop=True), choice)
            for name, rows in table.groupby("candidate", sort=False)
        ],
        "problems": [
            (f"{row['candidate']} {row['form']}", row["problem"])
            for row in about[about["problem"] != ""].to_dict("records")
        ],
        "tested": bool((scores["side"] == "test").any()),
    }, {"forms": table}


def _candidate(name: str, table: pd.DataFrame, choice: Choice) -> dict[str, Any]:
    chosen = (choice.form or ORIGINAL) if name == choice.candidate else None
    records = table.to_dict("records")
    models = [
        Point(
            row["form"],
            row["median_ms"],
            row["val_accuracy"],
            row["val_low"],
            row["val_high"],
            winner=row["form"] == chosen,
        )
        for row in records
    ]
    before = next(row for row in records if row["form"] == ORIGINAL)
    return {
        "name": name,
        "costs": [_costs(row, before) for row in records],
        "losses": [_losses(row) for row in records],
        "best": [place for place, row in enumerate(records) if row["form"] == chosen],
        "notes": [(row["form"], row["note"]) for row in records if row["note"]],
        "front": [point.name for point in pareto(models)],
        "figure": vector(partial(figure, models, _COST)),
    }


def _costs(row: dict[Hashable, Any], before: dict[Hashable, Any]) -> list[Cell]:
    itself = row is before
    size = "" if itself else f"× {row['bytes'] / before['bytes']:.2f}"
    speed = "" if itself else f"; {before['median_ms'] / row['median_ms']:.1f} times as fast"
    return [
        Cell(row["form"], row["form"]),
        Cell(_kind(row), _kind(row)),
        Cell(f"{row['bytes'] / 1e6:.2f}", row["bytes"], size),
        Cell(f"{row['parameters']:,}", row["parameters"]),
        Cell(f"{row['multiply_adds'] / 1e6:,.1f}", row["multiply_adds"]),
        Cell(
            f"{row['median_ms']:.1f}",
            row["median_ms"],
            f"95%: {row['p95_ms']:.1f}{speed}",
        ),
        Cell(
            f"{row['one_core_median_ms']:.1f}",
            row["one_core_median_ms"],
            f"95%: {row['one_core_p95_ms']:.1f}",
        ),
        Cell(f"{row['peak_mb']:,.0f}", row["peak_mb"]),
    ]


def _losses(row: dict[Hashable, Any]) -> list[Cell]:
    return [
        Cell(row["form"], row["form"]),
        *(show(row, side) for side in ("val", "test") for show in (_accuracy, _difference)),
        Cell(f"{row['val_largest_change']:.2g}", row["val_largest_change"]),
        Cell(f"{100 * row['val_agreement']:.0f} %", row["val_agreement"]),
    ]


def _kind(row: dict[Hashable, Any]) -> str:
    """The format, the precision, and what was taken out of the model."""
    parts = [f"{row['format']} {row['precision']}"]
    if row["prune"] == row["prune"]:
        parts.append(f"{100 * row['prune']:.0f} % of channels out")
    if row["sparsity"] == row["sparsity"]:
        parts.append(f"{100 * row['sparsity']:.0f} % of weights 0")
    return ", ".join(parts)


def _accuracy(row: dict[Hashable, Any], side: str) -> Cell:
    value = row[f"{side}_accuracy"]
    if value != value:
        return Cell("–", -1)
    return Cell(f"{value:.3f}", value, f"{row[f'{side}_low']:.3f} to {row[f'{side}_high']:.3f}")


def _difference(row: dict[Hashable, Any], side: str) -> Cell:
    value = row[f"{side}_difference"]
    if value != value:
        return Cell("–", -9)
    if row["form"] == ORIGINAL:
        return Cell("", 0)
    low, high = (row[f"{side}_difference_{end}"] for end in ("low", "high"))
    return Cell(points(value), value, f"{points(low)} to {points(high)}")
