"""Whether explanations can be believed: what they point at, and what happens when they are obeyed.

Three checks, each with a number for every clip, so that intervals can resample recordings:

- Pointing: where the truth is known, evidence lies on the actor more than chance would have it.
- Randomisation: explanations change when a model forgets what it learned, from its last layer to
  its first (Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018).
- Deletion and insertion: the answer falls faster, and comes back faster, when the places or times
  with the most evidence go or come first than when the order is random (Petsiuk et al., "RISE:
  Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinoflow.explain import absence, shapley
from kinoflow.explain.methods import Explainer, valid
from kinoflow.video.spec import Frames

PLACES = 6  # rows and columns of the grid of places that are deleted and inserted
_STEP = 4  # places at a time
_GROUPS = 6  # of layers, at most, that are randomised one after the other


# === Pointing ===


def inside(maps: NDArray[np.float32], boxes: NDArray[np.float64]) -> tuple[float, float]:
    """The share of evidence within a box, and the share that evenly spread evidence would have.

    Even means even within each frame: a frame counts for both as much as it has evidence.

    Args:
        maps: float32 (T, H, W), 0 or more.
        boxes: (T, 4) left, top, right and bottom of each frame's box, in fractions of the frame.

    Maps that are 0 throughout point nowhere: their share is that of the area.
    """
    covered = np.stack([_covered(box, *maps.shape[1:]) for box in boxes])
    areas = covered.mean(axis=(1, 2))
    evidence = maps.sum(axis=(1, 2), dtype=np.float64)
    if evidence.sum() == 0:
        return float(areas.mean()), float(areas.mean())
    share = (maps * covered).sum(dtype=np.float64) / evidence.sum()
    return float(share), float((evidence * areas).sum() / evidence.sum())


def _covered(box: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """How much of each pixel (H, W) a box covers, 0 to 1."""
    left, top, right, bottom = box
    across = _overlap(left * width, right * width, width)
    return _overlap(top * height, bottom * height, height)[:, None] * across


def _overlap(start: float, end: float, count: int) -> NDArray[np.float64]:
    pixels = np.arange(count)
    return np.clip(np.minimum(pixels + 1, end) - np.maximum(pixels, start), 0, 1)


# === Randomisation ===


@dataclass(frozen=True)
class Randomised:
    """Layers that were randomised, with all those before them in the list, and what it did."""

    layers: tuple[str, ...]
    # (clips,) rank correlation of each clip's maps with those of the trained model, -1 to 1
    similarity: NDArray[np.float64]


def randomised(
    explainer: Explainer,
    clips: Sequence[Frames],
    labels: Sequence[int],
    trained: Sequence[NDArray[np.float32]],
    seed: int,
) -> list[Randomised]:
    """How explanations change as layers forget what they learned, the last ones first.

    A layer forgets by having the values of each of its weights shuffled: their spread stays, so
    that features keep their scale, and what they meant is gone. Afterwards the model is as before.

    Args:
        explainer: of the bundle.
        clips: uint8 (T, H, W, 3) each.
        labels: for each clip the class that is explained.
        trained: for each clip its maps (T, H, W) by the model as it is.
        seed: of the shuffling.
    """
    model = explainer.model.model
    kept = model.get_weights()
    rng = np.random.default_rng(seed)

    def explained() -> list[NDArray[np.float32]]:
        return [explainer.maps(clip, label) for clip, label in zip(clips, labels, strict=True)]

    groups = [layer for layer in reversed(model.layers) if layer.weights]
    steps = []
    try:
        for group in np.array_split(np.arange(len(groups)), min(_GROUPS, len(groups))):
            for index in group:
                layer = groups[index]
                layer.set_weights([_shuffled(each, rng) for each in layer.get_weights()])
            names = tuple(groups[index].name for index in group)
            pairs = zip(trained, explained(), strict=True)
            steps.append(Randomised(names, np.array([similarity(*pair) for pair in pairs])))
    finally:
        model.set_weights(kept)
    return steps


def _shuffled(values: NDArray, rng: np.random.Generator) -> NDArray:
    return rng.permutation(values.ravel()).reshape(values.shape)


def similarity(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Spearman's rank correlation of two maps, -1 to 1; 0 if either is the same everywhere."""
    from scipy.stats import spearmanr

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other, axis=None).statistic)


# === Deletion and insertion ===


@dataclass(frozen=True)
class Curves:
    """How probable a class is as parts of a clip go or come, from none to all of them.

    All are (steps,), at equal fractions from 0 to 1. A random order's deletion, read backwards, is
    the insertion in a random order.
    """

    deletion: NDArray[np.float64]  # those with the most evidence go first
    insertion: NDArray[np.float64]  # those with the most evidence come first
    random: NDArray[np.float64]  # deletion in random order


def area(curve: NDArray[np.float64]) -> float:
    """The area below a curve over fractions from 0 to 1: its mean, by the trapezoidal rule."""
    return float((curve[1:] + curve[:-1]).mean() / 2)


def curves_in_space(
    explainer: Explainer, clip: Frames, maps: NDArray[np.float32], label: int, seed: Sequence[int]
) -> Curves:
    """Delete and insert the places of a grid, by the evidence in each.

    Args:
        explainer: of the bundle.
        clip: uint8 (T, H, W, 3).
        maps: its evidence, float32 (T, H, W).
        label: index of the class.
        seed: of the random order.
    """
    which = shapley.cells(clip.shape[1], clip.shape[2], PLACES)
    places = int(which.max()) + 1
    sums = np.bincount(which.ravel(), maps.sum(axis=0, dtype=np.float64).ravel(), places)
    evidence = sums / np.bincount(which.ravel(), minlength=places)
    best = np.argsort(-evidence, kind="stable")
    drawn = np.random.default_rng(seed).permutation(places)
    counts = [*range(0, places, _STEP), places]
    hidden = [
        *(best[:count] for count in counts),
        # what is there after the best have come: all others are hidden
        *(best[count:] for count in counts[1:-1]),
        *(drawn[:count] for count in counts[1:-1]),
    ]
    real = valid(explainer.model, clip)
    changed = (absence.without_places(clip, real, np.isin(which, gone)) for gone in hidden)
    found = shapley.answered(changed, explainer.model.predict)[:, label]
    deletion = found[: len(counts)]
    inner = found[len(counts) :].reshape(2, -1)
    return Curves(
        deletion=deletion,
        insertion=np.array([deletion[-1], *inner[0], deletion[0]]),
        random=np.array([deletion[0], *inner[1], deletion[-1]]),
    )


def curves_in_time(worth: NDArray[np.float64], values: NDArray[np.float64]) -> Curves:
    """Delete and insert segments of time, by their Shapley values.

    The answer to each set of segments is known, so nothing is asked of the model, and the curve of
    random orders is the exact mean over all of them.

    Args:
        worth: (2 ** segments,) the probability of the class for each set of segments present.
        values: (segments,) the Shapley values.
    """
    segments = len(values)
    best = np.argsort(-values, kind="stable")
    everything = 2**segments - 1
    first = np.concatenate([[0], np.cumsum(1 << best)])
    sizes = shapley.coalitions(segments).sum(axis=1)
    means = np.array([worth[sizes == size].mean() for size in range(segments + 1)])
    return Curves(
        deletion=worth[everything - first], insertion=worth[first], random=means[::-1].copy()
    )
