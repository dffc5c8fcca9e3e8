"""What a model answers to the clips of one side of a split, and the scores of these answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.bundle import Bundle
from kinoflow.config import Evaluation
from kinoflow.data import clips
from kinoflow.data.clips import ClipSet
from kinoflow.reports import metrics
from kinoflow.reports.predictions import predict
from kinoflow.reports.records import Scores
from kinoflow.workspace import Workspace


@dataclass(frozen=True)
class Side:
    """The clips of one side of the split, and the recording (N,) that each was cut from."""

    clips: ClipSet
    groups: NDArray


@dataclass(frozen=True)
class Answers:
    """Class probabilities (N, classes) of the clips of a side."""

    calibrated: NDArray[np.float32]
    uncalibrated: NDArray[np.float32]


def load_sides(
    workspace: Workspace, names: tuple[str, ...], table: pd.DataFrame
) -> tuple[tuple[str, ...], dict[str, Side]]:
    """The labels of a whole table, in alphabetical order, and each of its sides that is named.

    Args:
        workspace: the work tree.
        names: sides, of `tables.SIDES`.
        table: the clips and their sides, as `kinoflow.data.clips.split_table` gives them.
    """
    labels, sets = clips.load_sets(workspace, names, table)
    groups = table.set_index("video")["group"]
    return labels, {
        name: Side(clipset, groups[list(clipset.videos)].to_numpy())
        for name, clipset in sets.items()
    }


def answer(model: Bundle, side: Side, name: str) -> Answers:
    """What a bundle answers to the clips of a side; `name` names it in the progress."""
    pooled = predict(model, side.clips, name)
    return Answers(model.calibrated(pooled), pooled)


def join(sides: Sequence[Side]) -> Side:
    """The clips of several sides, such as the test sides of all folds, one after the other."""
    sets = [side.clips for side in sides]
    return Side(
        ClipSet(
            sets[0].folder,
            tuple(video for clipset in sets for video in clipset.videos),
            np.concatenate([clipset.labels for clipset in sets]),
        ),
        np.concatenate([side.groups for side in sides]),
    )


def join_answers(answers: Sequence[Answers]) -> Answers:
    """The answers to the clips of several sides, one after the other."""
    return Answers(
        np.concatenate([each.calibrated for each in answers]),
        np.concatenate([each.uncalibrated for each in answers]),
    )


def score(side: Side, answers: Answers, params: Evaluation, seed: int) -> Scores:
    """The scores of answers to the clips of a side.

    Args:
        side: the clips. A clip may be there more than once, answered by several models.
        answers: those of one model, or of several.
        params: the section `evaluation` of params.yaml.
        seed: of the resampling behind the interval.
    """
    values = metrics.scores(
        side.clips.labels,
        answers.calibrated,
        side.groups,
        uncalibrated=answers.uncalibrated,
        bootstrap=params.bootstrap,
        bins=params.calibration_bins,
        seed=seed,
    )
    return Scores.model_validate(values)
