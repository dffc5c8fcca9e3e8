"""Collect what the model card of a Bento says."""

import subprocess
from pathlib import Path

import pandas as pd

from kinoflow.bundle import Description
from kinoflow.config import Params
from kinoflow.data import tables
from kinoflow.reports import metrics
from kinoflow.reports.card import Card
from kinoflow.reports.records import Accuracy, Metrics, Refit
from kinoflow.workspace import Workspace
from stages.package_choice import form_details


def card(
    workspace: Workspace, winner: str, bundle: Path, form_test: Accuracy | None = None
) -> Card:
    """The card of the packaged model.

    Args:
        workspace: the work tree.
        winner: the candidate's name.
        bundle: the folder of what is packaged: the winner's bundle, the one of the stage refit, or
            a form of either.
        form_test: what the form scores on test clips, as `accuracy` says.

    Raises FileNotFoundError if the winner was not evaluated.
    """
    description, form = Description.read(bundle), form_details(bundle)
    scored = Metrics.read(workspace.report(winner) / "metrics.json")
    refit = description.refit if form else bundle != workspace.bundle(winner)
    commit = _git(workspace.root, "rev-parse", "HEAD")
    # these change with every run, before anybody can commit them
    unless = (":!dvc.lock", ":!reports/decision.json")
    changes = _git(workspace.root, "status", "--porcelain", "--untracked-files=no", ":/", *unless)
    return Card(
        candidate=winner,
        labels=description.labels,
        clip=description.clip,
        clip_seconds=description.seconds,
        temperature=description.temperature,
        trained_on=description.trained_on,
        teachers=tuple(description.teachers) or None,
        val=None if refit else scored.val,
        test=Refit.read(workspace.refit_record).test if refit else scored.test,
        folds=None if refit else scored.folds,
        form=bundle.name if form else None,
        format=form.format if form else None,
        precision=form.precision if form else None,
        form_test=form_test,
        seed=description.seed,
        data=description.data,
        versions=description.versions | (form.versions if form else {}),
        commit=commit or None,
        changed=bool(changes) if commit else None,
    )


def accuracy(workspace: Workspace, answers: pd.DataFrame, params: Params) -> Accuracy:
    """The accuracy of answers to test clips, as in predictions.csv, with its interval."""
    groups = tables.read(workspace.split, tables.SPLIT)[["video", "group"]]
    table = answers.merge(groups, on="video", how="left")
    hits = (table["predicted"] == table["label"]).to_numpy(bool)
    interval = metrics.bootstrap_interval(
        hits, table["group"].to_numpy(), params.evaluation.bootstrap, params.seed
    )
    found = [round(float(value), 6) for value in (hits.mean(), *interval)]
    return Accuracy(accuracy=found[0], accuracy_low=found[1], accuracy_high=found[2])


def _git(folder: Path, *arguments: str) -> str | None:
    """What a command of git prints; None without git, a repository or a commit."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()
