"""What the page of a run is made from: the documents and tables that other stages wrote."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow import bundle
from kinoflow.bundle import Description
from kinoflow.config import Params
from kinoflow.data import clips, tables
from kinoflow.reports.decision import Decision
from kinoflow.reports.records import Choice, Metrics, Refit, Timing, Verdict, Winner
from kinoflow.workspace import Workspace


@dataclass(frozen=True)
class Candidate:
    """A candidate that was evaluated."""

    name: str
    model: str  # the architecture
    metrics: Metrics
    timing: Timing
    folder: Path  # of its report

    def table(self, name: str, schema: tables.Schema) -> pd.DataFrame:
        """A table of its report."""
        return tables.read(self.folder / f"{name}.csv", schema)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Its answers to the test clips: the table `tables.PREDICTIONS`."""
        return self.table("predictions", tables.PREDICTIONS)


@dataclass(frozen=True)
class Compression:
    """The forms of models, and which is packaged."""

    forms: pd.DataFrame  # tables.FORMS
    scores: pd.DataFrame  # tables.FORM_SCORES
    times: pd.DataFrame  # tables.FORM_TIMES
    choice: Choice


@dataclass(frozen=True)
class Inputs:
    """All that the page shows, apart from pages that it links to."""

    workspace: Workspace
    params: Params
    candidates: tuple[Candidate, ...]  # the best on validation first
    choice: Winner
    description: Description  # of the winner's bundle

    @property
    def winner(self) -> Candidate:
        return next(each for each in self.candidates if each.name == self.choice.winner)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.description.labels

    @cached_property
    def videos(self) -> pd.DataFrame:
        """The videos of the split, as `clips.split_table` gives them."""
        return clips.split_table(self.workspace)

    @cached_property
    def groups(self) -> NDArray:
        """The recording (N,) of each clip of the winner's predictions."""
        return self.videos.set_index("video")["group"][self.winner.predictions["video"]].to_numpy()

    @cached_property
    def history(self) -> pd.DataFrame:
        """The table `tables.HISTORY` of the winner's training."""
        return tables.read(self.workspace.bundle(self.winner.name) / bundle.HISTORY, tables.HISTORY)

    @cached_property
    def refit(self) -> Refit:
        """Whether the packaged model was trained once more, and on what."""
        return Refit.read(self.workspace.refit_record)

    @cached_property
    def learning_curve(self) -> pd.DataFrame:
        """The table `tables.LEARNING_CURVE`; without rows if it was not asked for."""
        return tables.read(self.workspace.learning_curve, tables.LEARNING_CURVE)

    @cached_property
    def compression(self) -> Compression | None:
        """None if no forms were made."""
        folder = self.workspace.compression
        if not (folder / "forms.csv").exists():
            return None
        return Compression(
            forms=tables.read(folder / "forms.csv", tables.FORMS),
            scores=tables.read(folder / "scores.csv", tables.FORM_SCORES),
            times=tables.read(folder / "times.csv", tables.FORM_TIMES),
            choice=Choice.read(self.workspace.choice),
        )

    @cached_property
    def decision(self) -> Decision:
        """The last decision on promotion."""
        return Decision.read(self.workspace.decision)

    @cached_property
    def verdict(self) -> Verdict:
        return Verdict.read(self.workspace.validation)

    def indices(self, names: pd.Series) -> NDArray[np.int64]:
        """The class indices (N,) of names of classes."""
        place = {label: index for index, label in enumerate(self.labels)}
        return np.array([place[name] for name in names], np.int64)


def read(workspace: Workspace, params: Params) -> Inputs:
    """Read what the stages before wrote.

    Raises FileNotFoundError for what is missing, and UserError for what cannot be read.
    """
    choice = Winner.read(workspace.winner)
    candidates = [
        Candidate(
            name=name,
            model=settings.model,
            metrics=Metrics.read(workspace.report(name) / "metrics.json"),
            timing=Timing.read(workspace.report(name) / "timing.json"),
            folder=workspace.report(name),
        )
        for name, settings in params.candidates.items()
    ]
    metric = params.selection.metric
    candidates.sort(key=lambda each: (-getattr(each.metrics.val, metric), each.name))
    return Inputs(
        workspace=workspace,
        params=params,
        candidates=tuple(candidates),
        choice=choice,
        description=Description.read(workspace.bundle(choice.winner)),
    )
