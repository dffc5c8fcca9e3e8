"""Score the forms of one candidate beside its bundle, on the same clips."""

from functools import cached_property
from typing import Any

import numpy as np

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.config import Params
from kinoflow.data import clips, tables
from kinoflow.reports import comparison, metrics, scoring
from kinoflow.reports.predictions import prediction_table
from kinoflow.reports.scoring import Side
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace


class Judge:
    """Scores what forms answer to validation and test clips.

    Args:
        workspace: the work tree.
        params: the settings.
        original: the bundle that forms are compared with.

    Raises UserError if the bundle was trained for other classes.
    """

    def __init__(self, workspace: Workspace, params: Params, original: Bundle) -> None:
        self._workspace = workspace
        self._params = params
        self._original = original
        table = clips.split_table(workspace)
        # with folds, all test clips are among those that the bundle was trained on
        names = ("val",) if clips.fold_tables(workspace) else ("val", "test")
        self.labels, self.sides = scoring.load_sides(workspace, names, table)
        if self.labels != original.labels:
            raise UserError(f"{original.folder} was trained for other classes: train it again")

    def score(self, name: str, model: Bundle) -> list[dict[str, Any]]:
        """The rows of a form, or of the bundle itself, in the table `tables.FORM_SCORES`.

        What it answered to the clips of the last side is written to work/form_answers.
        """
        rows = []
        for side, found in self.sides.items():
            if model is self._original:
                answers = self._answers[side]
            else:
                called = f"{model.description.name} {name} on {side}"
                answers = scoring.answer(model, found, called).calibrated
            rows.append(self._row(name, side, answers))
        answered = prediction_table(found.clips, answers, self.labels)
        path = self._workspace.form_answers(model.description.name, name)
        tables.write(answered, path, tables.PREDICTIONS)
        return rows

    @cached_property
    def _answers(self) -> dict[str, Probabilities]:
        """What the bundle answers to the clips of each side."""
        name = self._original.description.name
        return {
            side: scoring.answer(self._original, found, f"{name} on {side}").calibrated
            for side, found in self.sides.items()
        }

    def _row(self, name: str, side: str, answers: Probabilities) -> dict[str, Any]:
        found, before = self.sides[side], self._answers[side]
        return {
            "candidate": self._original.description.name,
            "form": name,
            "side": side,
            "clips": len(answers),
            **compared(
                found,
                before,
                answers,
                bootstrap=self._params.evaluation.bootstrap,
                seed=self._params.seed,
            ),
        }


def compared(
    side: Side, before: Probabilities, after: Probabilities, *, bootstrap: int, seed: int
) -> dict[str, float]:
    """How answers to the clips of a side differ from those of the original.

    Args:
        side: N clips, and their recordings.
        before: the original's answers, (N, classes).
        after: the others, (N, classes).
        bootstrap: how often recordings are resampled for the intervals.
        seed: of the resampling.

    Returns the columns of `tables.FORM_SCORES` from `accuracy` on.
    """
    truth = side.clips.labels
    hits = {"form": after.argmax(axis=1) == truth, "original": before.argmax(axis=1) == truth}
    low, high = metrics.bootstrap_interval(hits["form"], side.groups, bootstrap, seed)
    (pair,) = comparison.compare(hits, side.groups, bootstrap=bootstrap, seed=seed).to_dict(
        "records"
    )
    return {
        "accuracy": float(hits["form"].mean()),
        "low": low,
        "high": high,
        "difference": pair["difference"],
        "difference_low": pair["low"],
        "difference_high": pair["high"],
        "largest_change": float(np.abs(after - before).max()),
        "agreement": float((after.argmax(axis=1) == before.argmax(axis=1)).mean()),
    }
