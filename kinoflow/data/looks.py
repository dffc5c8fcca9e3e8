"""What a clip looks like, in a few numbers, and whether two sets of recordings look different.

The numbers need no model and no decoding: they are taken from the clip that is stored anyway. They
say how bright, colourful, sharp and lively a clip is, and where and when it moves, so that a class
whose new videos show something else stands out.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kinoflow.video.padding import unpadded
from kinoflow.video.spec import Frames

_FRAMES = 16  # of a clip that are looked at
_GRID = 4  # motion is measured in 4 x 4 parts of the frame
_LITTLE = 1e-3  # motion, in parts of white, below which there is no more than noise
_THIRDS = ("first", "second", "last")
_ROWS = ("upper", "middle", "lower")
_BLOCK = 1000  # permutations at a time
_SHRINKAGE = 0.1  # of the covariance towards that of independent numbers
_UNLIKELY = -20.0  # log probability; less does not count more

_PLACES = [f"motion in row {row + 1}, column {column + 1} of 4" for row, column in np.ndindex(4, 4)]
NAMES = (
    *("brightness", "contrast", "red", "blue", "sharpness", "motion"),
    *_PLACES,
    *(f"motion in quarter {number} of the time" for number in range(1, 5)),
    *(f"height of the motion in quarter {number} of the time" for number in range(1, 5)),
    *(f"side of the motion in quarter {number} of the time" for number in range(1, 5)),
    *(f"downward motion in the {row} third" for row in _ROWS),
    *(f"rightward motion in the {row} third" for row in _ROWS),
    *(f"downward motion in the {part} third of the time" for part in _THIRDS),
    *(f"rightward motion in the {part} third of the time" for part in _THIRDS),
)
LIKENESS = "likeness to its class (log probability)"


def look(clip: Frames) -> NDArray[np.float64]:
    """The numbers (D,) of one clip, uint8 RGB (T, H, W, 3), in the order of NAMES."""
    clip = unpadded(clip)
    chosen = np.linspace(0, len(clip) - 1, _FRAMES).round().astype(int)
    frames = clip[np.unique(chosen)].astype(np.float32) / 255
    if len(frames) == 1:
        frames = np.concatenate([frames, frames])  # a picture, which does not move
    grey = frames @ np.array([0.299, 0.587, 0.114], np.float32)  # (T, H, W)
    red, green, blue = frames.mean(axis=(0, 1, 2))
    across, down = np.diff(grey, axis=2), np.diff(grey, axis=1)
    change = np.diff(grey, axis=0)
    moved = np.abs(change)  # (T - 1, H, W)
    contrast = grey.std(axis=(1, 2)).mean()
    overall = _log(moved.mean())
    quarters = [part if len(part) else moved for part in np.array_split(moved, 4)]
    return np.array(
        [
            grey.mean(),
            contrast,
            red - green,
            blue - green,
            # both beside the contrast, so that less light is not less of all
            _log(np.abs(across).mean() + np.abs(down).mean()) - _log(contrast),
            overall - _log(contrast),
            *(_log(part.mean()) - overall for part in _cells(moved.mean(axis=0))),
            *(_log(part.mean()) - overall for part in quarters),
            *np.array([_centre(part.mean(axis=0)) for part in quarters]).T.ravel(),
            *_flow(change, down, across),
        ],
        np.float64,
    )


def _log(value: float) -> float:
    return math.log(float(value) + _LITTLE)


def _cells(motion: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The parts of a map (H, W), row by row."""
    return [
        cell if cell.size else motion
        for row in np.array_split(motion, _GRID)
        for cell in np.array_split(row, _GRID, axis=1)
    ]


def _centre(motion: NDArray[np.float32]) -> tuple[float, float]:
    """Where a map (H, W) has most of its motion, -0.5 (top, left) to 0.5 (bottom, right)."""
    # the median is what the camera and noise move
    weight = np.maximum(motion - np.median(motion), 0)
    if not weight.any():
        return 0.0, 0.0
    weight /= weight.sum()
    height, width = motion.shape
    rows, columns = np.arange(height) / height - 0.5, np.arange(width) / width - 0.5
    return float(weight.sum(axis=1) @ rows), float(weight.sum(axis=0) @ columns)


def _flow(
    change: NDArray[np.float32], down: NDArray[np.float32], across: NDArray[np.float32]
) -> list[float]:
    """Optical flow downwards and to the right, in thirds of the frame's height and of the time.

    Least squares on the brightness constancy equation (Lucas and Kanade, 1981), each direction for
    itself, over all pixels of a part.
    """
    change = change[:, :-1, :-1]
    down, across = down[:-1, :, :-1], across[:-1, :-1]
    steep = float((down**2 + across**2).mean()) + 1e-6
    fields = [-change * down / steep, -change * across / steep]
    found = []
    for axis in (1, 0):
        for field in fields:
            parts = np.array_split(field, 3, axis=axis)
            found += [float(part.mean()) if part.size else 0.0 for part in parts]
    return found


# === Two sets of recordings ===


def with_likeness(looks: NDArray[np.float64], labels: NDArray[np.object_]) -> NDArray[np.float64]:
    """Looks (N, D) of videos, and as a last column how much each looks like others of its label.

    That is the log probability of its label by linear discriminant analysis of all these videos
    (Fisher, 1936), each class equally likely. It says more about labels that were mixed up than
    any single number.
    """
    classes, index = np.unique(labels, return_inverse=True)
    spread = looks.std(axis=0)
    scaled = (looks - looks.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf)
    means = np.stack([scaled[index == number].mean(axis=0) for number in range(len(classes))])
    within = scaled - means[index]
    covariance = within.T @ within / max(1, len(looks) - len(classes))
    covariance = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * np.eye(len(covariance))
    directions = np.linalg.solve(covariance, means.T)  # (D, C)
    scores = scaled @ directions - (means * directions.T).sum(axis=1) / 2
    own = scores[np.arange(len(looks)), index] - np.logaddexp.reduce(scores, axis=1)
    return np.column_stack([looks, np.maximum(own, _UNLIKELY)])


class Sample(NamedTuple):
    """The videos of one class: some were known before, some are new."""

    groups: NDArray[np.object_]  # (N,) the recordings
    new: NDArray[np.bool_]  # (N,)
    looks: NDArray[np.float64]  # (N, D)


class Change(NamedTuple):
    """How the new recordings of a class differ from the others, and how likely by chance."""

    p: float
    feature: int  # the number that differs most, as an index
    before: float  # its mean over the recordings
    now: float


def changes(samples: dict[str, Sample], alpha: float) -> dict[str | None, Change]:
    """Test for each class whether its new recordings look different from the others.

    Whole recordings are permuted, since videos of one recording look alike. A recording with
    videos of both kinds is two of these, which are exchanged with each other only. The statistic
    is the largest standardised difference of means over all numbers (Westfall and Young, 1993),
    so that it needs no correction for how many numbers there are.

    All classes together are tested as well, each recording within its class: a camera that has
    become darker shows there even if each class has only one new recording.

    Args:
        samples: the videos of each class that has both old and new ones.
        alpha: the level of significance that is meant. It decides how many permutations are drawn
            (always the same ones), and classes with so few recordings that they could not reach
            it are left out.

    Returns the classes that could be tested, and None for all together, each with its own p.
    """
    units = {label: _units(sample) for label, sample in samples.items()}
    tests: dict[str | None, list[_Units]] = {label: [unit] for label, unit in units.items()}
    if len(units) > 1:
        tests[None] = [*units.values()]
    enough = {
        label: several
        for label, several in tests.items()
        if sum(unit.log_arrangements for unit in several) >= math.log(2 / alpha)
    }
    draws = math.ceil(max(2000, 10 * len(enough) / alpha))
    return {label: _test(several, draws) for label, several in enough.items()}


def significant(found: dict[str | None, Change], alpha: float) -> list[str | None]:
    """The keys of the changes that are significant at `alpha` over all of them (Holm, 1979)."""
    keys = sorted(found, key=lambda key: found[key].p)
    passed = [found[key].p * (len(keys) - rank) <= alpha for rank, key in enumerate(keys)]
    return keys[: passed.index(False)] if False in passed else keys


class _Units(NamedTuple):
    """The means of a class's recordings: old ones, new ones, and those that are both."""

    values: NDArray[np.float64]  # (U, D), those of `pairs` first: old, new, old, new
    new: NDArray[np.bool_]  # (U,)
    pairs: int

    @property
    def log_arrangements(self) -> float:
        """The logarithm of the number of ways in which the recordings can be permuted."""
        single = self.new[2 * self.pairs :]
        return math.log(math.comb(len(single), int(single.sum()))) + self.pairs * math.log(2)

    @property
    def weight(self) -> float:
        """What its difference of means counts beside that of other classes: one by its variance."""
        new = int(self.new.sum())
        return new * (len(self.new) - new) / len(self.new)

    def scaled(self) -> NDArray[np.float64]:
        """The values (U, D) with mean 0 and standard deviation 1; 0 where they are all equal."""
        spread = self.values.std(axis=0)
        return (self.values - self.values.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf)


def _units(sample: Sample) -> _Units:
    names, group = np.unique(sample.groups, return_inverse=True)
    means = np.zeros((2, len(names), sample.looks.shape[1]))  # of old and new videos
    counts = np.zeros((2, len(names)), int)
    for kind in (0, 1):
        chosen = sample.new == bool(kind)
        np.add.at(means[kind], group[chosen], sample.looks[chosen])
        counts[kind] = np.bincount(group[chosen], minlength=len(names))
    means /= np.maximum(counts, 1)[..., None]
    there = counts > 0
    both = there.all(axis=0)
    pairs = means[:, both].swapaxes(0, 1).reshape(-1, means.shape[2])
    single = [means[kind, there[kind] & ~both] for kind in (0, 1)]
    new = [np.tile([False, True], int(both.sum()))]
    new += [np.full(len(single[kind]), bool(kind)) for kind in (0, 1)]
    return _Units(np.concatenate([pairs, *single]), np.concatenate(new), int(both.sum()))


def _test(several: list[_Units], draws: int) -> Change:
    """Test the recordings of one class, or of several classes together."""
    scaled = [units.scaled() * units.weight for units in several]

    def differences(new: list[NDArray[np.bool_]]) -> NDArray[np.float64]:
        parts = [_weights(each) @ values for each, values in zip(new, scaled, strict=True)]
        return np.sum(parts, axis=0)

    observed = differences([units.new for units in several])  # (D,)
    feature = int(np.abs(observed).argmax())
    random = np.random.default_rng(0)
    as_large = 0
    for start in range(0, draws, _BLOCK):
        count = min(_BLOCK, draws - start)
        drawn = differences([_permuted(units, count, random) for units in several])
        as_large += int((np.abs(drawn).max(axis=1) >= abs(observed[feature]) - 1e-9).sum())
    values = np.concatenate([units.values[:, feature] for units in several])
    new = np.concatenate([units.new for units in several])
    return Change(
        p=(1 + as_large) / (1 + draws),
        feature=feature,
        before=float(values[~new].mean()),
        now=float(values[new].mean()),
    )


def _weights(new: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights (..., U) that give the mean of the new recordings less that of the others."""
    count = new.sum(axis=-1, keepdims=True)
    return np.where(new, 1 / count, -1 / (new.shape[-1] - count))


def _permuted(units: _Units, draws: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """Which recordings are the new ones (draws, U), drawn at random."""
    paired = 2 * units.pairs
    exchanged = np.repeat(random.random((draws, units.pairs)) < 0.5, 2, axis=1)
    single = np.tile(units.new[paired:], (draws, 1))
    return np.concatenate([units.new[:paired] ^ exchanged, random.permuted(single, axis=1)], axis=1)
