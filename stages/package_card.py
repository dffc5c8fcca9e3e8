"""Collect what the model card of a Bento says."""

import subprocess
from pathlib import Path

from kinoflow.bundle import Description
from kinoflow.reports.card import Card
from kinoflow.reports.records import Metrics, Refit
from kinoflow.workspace import Workspace


def card(workspace: Workspace, winner: str, bundle: Path) -> Card:
    """The card of the packaged model.

    Args:
        workspace: the work tree.
        winner: the candidate's name.
        bundle: the folder of the packaged bundle: the winner's, or the one of the stage refit.

    Raises FileNotFoundError if the winner was not evaluated.
    """
    description = Description.read(bundle)
    metrics = Metrics.read(workspace.report(winner) / "metrics.json")
    refit = bundle != workspace.bundle(winner)
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
        val=None if refit else metrics.val,
        test=Refit.read(workspace.refit_record).test if refit else metrics.test,
        folds=None if refit else metrics.folds,
        teachers=tuple(description.teachers) or None,
        seed=description.seed,
        data=description.data,
        versions=description.versions,
        commit=commit or None,
        changed=bool(changes) if commit else None,
    )


def _git(folder: Path, *arguments: str) -> str | None:
    """What a command of git prints; None without git, a repository or a commit."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()
