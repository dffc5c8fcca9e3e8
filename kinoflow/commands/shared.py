"""What several commands need: the model, its windows, and the types of options."""

import argparse
import math
from pathlib import Path

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.compress import forms
from kinoflow.reports.records import Winner, packaged
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace

_SECONDS = 2.0  # of a window where nothing says how long videos were


def load_model(folder: Path | None) -> Bundle:
    """The bundle in a folder, or a form of one that `kinoflow export` wrote; the winner's if None.

    Raises UserError if there is none.
    """
    if folder is None:
        workspace = Workspace()
        if not workspace.winner.exists():
            raise UserError("no winner here: run `make repro`, or name a bundle with --model")
        folder = packaged(workspace, Winner.read(workspace.winner).winner)
    return forms.load_any(folder)


def window_seconds(model: Bundle, given: float | None) -> tuple[float, str]:
    """How long windows are, in seconds, and where that comes from in words.

    Args:
        model: a bundle, which says how long the videos were that it was trained on.
        given: what the user asks for; None: the median length of those videos.
    """
    if given is not None:
        return given, "--window"
    if model.description.seconds is not None:
        return model.description.seconds, "the median of the videos it was trained on"
    return _SECONDS, "the videos it was trained on do not say, set --window"


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
