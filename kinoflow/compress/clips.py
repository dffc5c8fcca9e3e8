"""The clips that a form is compared on and fitted to."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinoflow.bundle import Description
from kinoflow.compress.exporting import Clips
from kinoflow.compress.quantise import LEAST, Judge
from kinoflow.data import clips
from kinoflow.system.errors import UserError
from kinoflow.video.decoder import sample
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import Frames
from kinoflow.workspace import Workspace

COMPARED = 32  # clips that a bundle and a form of it answer
FITTED = 128  # clips that int8 is fitted to: NNCF's own default is 300 pictures
JUDGED = 128  # clips by which layers stay in float
_INVENTED = 8


def of_videos(videos: Iterable[Path], description: Description) -> Clips:
    """The clips of some videos, as the model takes them.

    Raises UserError for a video that cannot be read.
    """
    frames = []
    for video in videos:
        try:
            frames.append(sample(video, description.clip))
        except UnreadableVideo as problem:
            raise UserError(f"{video}: {problem}") from None
    return Clips(np.stack(frames), "the videos that were named")


def held_out(workspace: Workspace, description: Description) -> Clips:
    """Up to `COMPARED` clips of a work tree that the model was not trained on.

    If the work tree has none of the model's size, they are made up: noise, in which a square moves.
    """
    sides = tuple(side for side in ("test", "val") if side not in description.trained_on)
    for side in sides:
        if found := of_side(workspace, description, side, COMPARED):
            return found
    return Clips(invented(description), "made-up clips")


def of_side(workspace: Workspace, description: Description, side: str, most: int) -> Clips | None:
    """Clips of a side of a work tree's split, spread evenly over it.

    Args:
        workspace: the work tree.
        description: of the model; clips of another size are left out.
        side: train, val or test.
        most: how many clips, at most.

    Returns None if there is no such clip, or if the work tree has other classes.
    """
    chosen, rows = _rows(workspace, description, side, most)
    fitting = _read(chosen, rows, description)
    return Clips(np.stack(fitting), f"clips of {side}") if fitting else None


def judge(workspace: Workspace, description: Description, loss: float = 0.01) -> Judge | None:
    """Up to `JUDGED` clips and their labels, by which int8 leaves layers in float.

    They are validation clips. If the model was trained on these, they are training clips other than
    the `FITTED` ones that `of_side` gives. None if there are too few.

    Args:
        workspace: the work tree.
        description: of the bundle.
        loss: share of these clips by which int8 may have fewer right.
    """
    if "val" not in description.trained_on:
        chosen, rows = _rows(workspace, description, "val", JUDGED)
    else:
        chosen, fitted = _rows(workspace, description, "train", FITTED)
        _, rows = _rows(workspace, description, "train", FITTED + JUDGED)
        rows = np.setdiff1d(rows, fitted)
    found = _read(chosen, rows, description)
    if chosen is None or len(found) < max(LEAST, len(rows)):
        return None
    return Judge(np.stack(found), chosen.labels[rows], loss)


def _rows(
    workspace: Workspace, description: Description, side: str, most: int
) -> tuple[clips.ClipSet | None, NDArray[np.int64]]:
    """A side of the split, and rows spread evenly over it; None if it has not the same classes."""
    none = np.array([], np.int64)
    if not workspace.split.exists() or not workspace.catalog.exists():
        return None, none
    labels, sets = clips.load_sets(workspace, (side,))
    chosen = sets[side]
    if labels != description.labels:
        return None, none
    count = min(most, len(chosen))
    return chosen, np.unique(np.linspace(0, len(chosen) - 1, count).astype(np.int64))


def _read(
    chosen: clips.ClipSet | None, rows: NDArray[np.int64], description: Description
) -> list[Frames]:
    """The clips of these rows that are such as the model takes."""
    if chosen is None:
        return []
    try:
        found = [chosen.clip(row) for row in rows]
    except FileNotFoundError:  # the split is there, the clips are not
        return []
    return [clip for clip in found if clip.shape == description.clip.shape]


def invented(description: Description) -> Frames:
    """Clips (N, T, H, W, 3) of noise in which a bright square moves; the same each time."""
    rng = np.random.default_rng(0)
    frames, height, width, _ = description.clip.shape
    drawn = rng.integers(0, 120, (_INVENTED, 1, height, width, 3), dtype=np.uint8)
    drawn = np.repeat(drawn, frames, axis=1)
    side = max(1, min(height, width) // 4)
    for number, clip in enumerate(drawn):
        for index in range(frames):
            left = (width - side) * index // max(1, frames - 1)
            top = (height - side) * number // max(1, _INVENTED - 1)
            colour = 255 - 16 * number
            clip[index, top : top + side, left : left + side] = colour
    return drawn
