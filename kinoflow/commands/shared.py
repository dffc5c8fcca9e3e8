"""What several commands need: the model, its windows, and the types of options."""

import argparse
import math
from pathlib import Path

from kinoflow import bundle
from kinoflow.bundle import Bundle, Probabilities
from kinoflow.reports.records import Winner, packaged
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace

_SECONDS = 2.0  # of a window where nothing says how long videos were


def load_model(folder: Path | None) -> Bundle:
    """The bundle in a folder, or the winner's if None.

    Raises UserError if there is none.
    """
    if folder is None:
        workspace = Workspace()
        if not workspace.winner.exists():
            raise UserError("no winner here: run `make repro`, or name a bundle with --model")
        folder = packaged(workspace, Winner.read(workspace.winner).winner)
    return bundle.load(folder)


def window_seconds(model: Bundle, given: float | None) -> tuple[float, str]:
    """How long windows are, in seconds, and where that comes from in words.

    Args:
        model: a bundle. If it lies in its work tree, the catalog says how long its videos were.
        given: what the user asks for; None: the median length of the videos in the catalog.
    """
    if given is not None:
        return given, "--window"
    folder = model.folder.absolute()
    for root in folder.parents[1:3]:
        workspace = Workspace(root)
        inside = folder in (workspace.bundle(folder.name), workspace.refit / folder.name)
        if inside and (seconds := _median_seconds(workspace.catalog)) is not None:
            return seconds, "the median of the catalog's videos"
    return _SECONDS, "no catalog beside the model says better, set --window"


def _median_seconds(catalog: Path) -> float | None:
    if not catalog.exists():
        return None
    from kinoflow.data import tables

    seconds = tables.read(catalog, tables.CATALOG)["seconds"].dropna()
    seconds = seconds[seconds > 0]
    return round(float(seconds.median()), 3) if len(seconds) else None


def top(model: Bundle, probabilities: Probabilities, count: int, first: int | None = None) -> str:
    """The most probable labels with their probabilities; `first` leads them if given."""
    best = probabilities.argsort()[::-1].tolist()
    if first is not None:
        best.remove(first)
        best.insert(0, first)
    return ", ".join(f"{model.labels[k]} {probabilities[k]:.3f}" for k in best[:count])


def count(text: str) -> int:
    """The type of an option that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text}")
    return int(text)


def seconds(text: str) -> float:
    """The type of an option that is a length in seconds, above 0."""
    value = duration(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, got {text}")
    return value


def duration(text: str) -> float:
    """The type of an option that is a length in seconds, 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, got {text}")
    return value
