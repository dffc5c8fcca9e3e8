"""Exact Shapley values of a clip's segments of time, and occlusion of its places.

Both ask nothing of a model but answers, so they explain every architecture alike.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from kinoflow.explain import absence
from kinoflow.video.spec import Frames

SEGMENTS = 8
GRID = 8  # rows and columns of cells that occlusion hides
_BATCH = 32  # clips in memory at a time

# uint8 (B, T, H, W, 3) to probabilities (B, classes), such as `Bundle.predict`
Answers = Callable[[Frames], NDArray[np.float32]]


def coalitions(players: int = SEGMENTS) -> NDArray[np.bool_]:
    """Every set of players, bool (2 ** players, players): player k is in set s if bit k of s is."""
    return (np.arange(2**players)[:, None] >> np.arange(players) & 1).astype(bool)


def shapley_values(worth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exact Shapley values.

    Shapley, "A Value for n-Person Games" (1953). A player's value is what it adds when it joins,
    averaged over all orders in which all players may join. All values together are the worth of
    everybody less that of nobody.

    Args:
        worth: (2 ** players, ...) of each set of players, in the order of `coalitions`.

    Returns (players, ...).

    Raises ValueError if the sets are not 2 ** players.
    """
    players = len(worth).bit_length() - 1
    if len(worth) != 2**players:
        raise ValueError(f"{len(worth)} sets are not all sets of any number of players")
    sets = np.arange(len(worth))
    sizes = coalitions(players).sum(axis=1)
    values = []
    for player in range(players):
        without = sets[sets >> player & 1 == 0]
        share = np.array([1 / (players * math.comb(players - 1, size)) for size in sizes[without]])
        added = worth[without | 1 << player] - worth[without]
        values.append(np.tensordot(share, added, axes=1))
    return np.array(values)


def segment_of(frames: int, valid: int, segments: int = SEGMENTS) -> NDArray[np.int64]:
    """The segment (T,) of each frame: equal parts of the valid ones; padding has -1."""
    which = np.arange(frames) * segments // max(valid, 1)
    return np.where(np.arange(frames) < valid, which, -1)


def worth_of_times(
    clip: Frames, valid: int, answers: Answers, segments: int = SEGMENTS
) -> NDArray[np.float64]:
    """Probabilities (2 ** segments, classes) for a clip with each set of its segments present.

    Args:
        clip: uint8 (T, H, W, 3); frames of absent segments show its mean frame.
        valid: how many of its frames are not padding.
        answers: the model.
        segments: equal parts of time.
    """
    which = segment_of(len(clip), valid, segments)
    baseline = absence.still(clip, valid)

    def variants() -> Iterator[Frames]:
        for present in coalitions(segments):
            yield absence.without_times(clip, baseline, ~np.append(present, True)[which])

    return answered(variants(), answers)


def cells(height: int, width: int, grid: int = GRID) -> NDArray[np.int64]:
    """The cell (H, W) of each pixel in a grid of `grid` rows and columns, or of single pixels."""
    rows, columns = min(grid, height), min(grid, width)
    row = np.arange(height) * rows // height
    column = np.arange(width) * columns // width
    return row[:, None] * columns + column


def occlusion(
    clip: Frames, valid: int, label: int, answers: Answers, grid: int = GRID
) -> NDArray[np.float32]:
    """How much less probable a class is without each place.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (ECCV 2014). A place
    is hidden in all frames.

    Args:
        clip: uint8 (T, H, W, 3).
        valid: how many of its frames are not padding.
        label: index of the class.
        answers: the model.
        grid: rows and columns of places; in a clip of fewer pixels, each pixel is a place.

    Returns float32 (rows, columns); negative where the class is more probable without the place.
    """
    which = cells(clip.shape[1], clip.shape[2], grid)
    places = which.max() + 1
    hidden = (absence.without_places(clip, valid, which == place) for place in range(places))
    whole = float(answers(clip[None])[0, label])
    drop = whole - answered(hidden, answers)[:, label]
    return drop.reshape(-1, min(grid, clip.shape[2])).astype(np.float32)


def answered(clips: Iterable[Frames], answers: Answers) -> NDArray[np.float64]:
    """Probabilities (N, classes) of clips that are made one after the other."""
    clips = iter(clips)
    found = []
    while batch := list(islice(clips, _BATCH)):
        found.append(answers(np.stack(batch)))
    return np.concatenate(found).astype(np.float64)
