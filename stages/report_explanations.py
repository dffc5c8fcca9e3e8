"""The parts of the page about single clips: errors, and what the winner looks at."""

from functools import partial
from typing import Any

import pandas as pd

from kinoflow.data import tables
from kinoflow.reports import page_figures
from kinoflow.reports.drawing import vector
from kinoflow.reports.records import Obeyed, Proofs
from stages.report_inputs import Inputs

_ANSWERS = 3  # labels of an answer that stand below its film
_PARTS = {"space": "places", "time": "eighths of time"}


def explanations(inputs: Inputs) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """What the sections show, and their numbers."""
    folder = inputs.workspace.explanations
    table = tables.read(folder / "clips.csv", tables.EXPLAINED)
    curves = tables.read(folder / "curves.csv", tables.CURVES)
    proofs = Proofs.read(folder / "proofs.json")
    predictions = inputs.winner.predictions
    # of the bundle that is explained: with folds, predictions are those of their models
    path = inputs.workspace.answers(inputs.winner.name)
    answers = tables.read(path, tables.PREDICTIONS).set_index("video")
    shown = [_card(inputs, answers.loc[row["video"]], row) for row in table.to_dict("records")]
    confused = [card for card in shown if card["why"] == "confused"]
    return {
        "method": proofs.method,
        "errors": [card for card in shown if card["why"] == "error"],
        "wrong": int((predictions["label"] != predictions["predicted"]).sum()),
        # a clip of a class that was taken for another one, and one of that other class
        "pairs": list(zip(confused[::2], confused[1::2], strict=False)),
        "right": [card for card in shown if card["why"] == "right"],
        "pointing": proofs.pointing,
        "randomisation": [
            (
                ", ".join(step.layers),
                f"{step.similarity.mean:.2f}",
                f"{step.similarity.low:.2f} to {step.similarity.high:.2f}",
            )
            for step in proofs.randomisation
        ],
        "orders": [
            _order(_PARTS[parts], found)
            for parts, found in (("space", proofs.space), ("time", proofs.time))
            if found
        ],
        "curves": [
            (_PARTS[str(parts)], vector(partial(_draw, found)))
            for parts, found in curves.groupby("parts", sort=False)
        ],
    }, {"explained_clips": table, "deletion_insertion": curves}


def _card(inputs: Inputs, answer: pd.Series, row: dict[Any, Any]) -> dict[str, Any]:
    """A film and what stands below it; `answer` is the clip's row of the predictions."""
    sure = sorted(((float(answer[f"p_{label}"]), label) for label in inputs.labels), reverse=True)
    return {
        "why": row["why"],
        "video": row["video"],
        "label": row["label"],
        "predicted": row["predicted"],
        "film": (inputs.workspace.explanations / row["file"]).read_bytes(),
        "answers": sure[:_ANSWERS],
    }


def _order(parts: str, found: Obeyed) -> tuple[str | int, ...]:
    return (
        parts,
        found.clips,
        f"{found.deletion:.3f}",
        f"{found.insertion:.3f}",
        f"{found.random:.3f}",
        *(
            f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})".replace("-", "−")
            for gain in (found.falls_faster, found.returns_faster)
        ),
    )


def _draw(curves: pd.DataFrame) -> Any:
    names = {
        ("deletion", "evidence"): "taken away, most evidence first",
        ("insertion", "evidence"): "brought back, most evidence first",
        ("deletion", "random"): "taken away, random order",
        ("insertion", "random"): "brought back, random order",
    }
    parts = {
        names[str(curve), str(order)]: found
        for (curve, order), found in curves.groupby(["curve", "order"], sort=False)
    }
    labels = ("share of the parts", "probability of the answer")
    return page_figures.fractions(parts, "fraction", "probability", labels)
