"""The statistics by which two samples of clips are compared, each with its p-value."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinoflow.monitor.answers import Floats, Texts
from kinoflow.monitor.features import Features
from kinoflow.monitor.resampling import Sides, p_value

_BINS = 10  # of a number, for its stability index
_NEAREST = 3  # clips, whose distance says how novel another is
_POINTS = 64  # at which distributions of numbers are compared, at most
_BANDWIDTHS = (0.5, 1.0, 2.0)  # of the kernel, times the median distance


@dataclass(frozen=True)
class Compared:
    """A statistic and its p-value; `by_chance` are the statistics of the resamples."""

    statistic: float
    p: float
    by_chance: Floats


def kernel_mmd(features: Features, first: int, sides: Sides, signs: Floats) -> Compared:
    """The kernel maximum mean discrepancy of features, squared.

    Gretton, Borgwardt, Rasch, Schoelkopf and Smola, "A Kernel Two-Sample Test" (JMLR 2012). The
    kernel is the mean of three Gaussians, whose widths are half, once and twice the median distance
    of clips of the first sample.

    Args:
        features: (N, F), those of the first sample first.
        first: how many belong to it.
        sides: how they are resampled.
        signs: (draws, units) of the terms.
    """
    kernel = gaussian_kernel(features.astype(np.float64), first)
    statistic = float(sides.weight @ kernel @ sides.weight)
    clips = sides.clips
    by_clip = clips @ kernel
    products = sides.together(by_clip) @ sides.together(clips).T
    factor = sides.inflation((by_clip * clips).sum(axis=1), np.diag(products))
    signed = signs * factor
    by_chance = ((signed @ products) * signed).sum(axis=1)
    return Compared(statistic, p_value(statistic, by_chance), by_chance)


def _terms(of: Floats, sides: Sides) -> Floats:
    """What each recording or run adds to the difference of the means of `of`, (N, ...)."""
    by_clip = sides.clips @ of
    by_unit = sides.together(by_clip)
    factor = sides.inflation((by_clip**2).sum(axis=1), (by_unit**2).sum(axis=1))
    terms: Floats = factor[:, None] * by_unit
    return terms


def gaussian_kernel(features: Floats, first: int) -> Floats:
    """The kernel between all clips, (N, N); see `kernel_mmd`."""
    reference = features[:first]
    scale = reference.std(axis=0)
    # a feature that was constant and no longer is: one step of it is as long as all others together
    scale = np.where(scale > 1e-6, scale, max(float(scale.max()), 1e-6))
    scaled = (features - reference.mean(axis=0)) / scale
    squares = (scaled**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * scaled @ scaled.T, 0)
    between = distances[:first, :first][np.triu_indices(first, 1)]
    median = float(np.median(between[between > 0])) if (between > 0).any() else 1.0
    kernels = [np.exp(-distances / (2 * width**2 * median)) for width in _BANDWIDTHS]
    return np.mean(kernels, axis=0)


def novelty(known: Features, clips: Features) -> Floats:
    """How far clips' features are from known ones, (N,).

    The mean distance to the three nearest, in directions of unit length (Sun, Ming, Zhu and Li,
    "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022).

    Args:
        known: (K, F), of other recordings than the clips.
        clips: (N, F).
    """
    squared = 2 - 2 * _directions(clips) @ _directions(known).T
    nearest = np.sort(squared, axis=1)[:, :_NEAREST]
    return np.sqrt(np.maximum(nearest, 0)).mean(axis=1)


def _directions(features: Features) -> Floats:
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return features / np.maximum(lengths, 1e-12)


def kolmogorov_smirnov(
    values: Floats, sides: Sides, signs: Floats, *, larger: bool = False
) -> Compared:
    """The largest difference of two distribution functions (Kolmogorov and Smirnov).

    Args:
        values: (N,), those of the first sample first.
        sides: how they are resampled.
        signs: (draws, units) of the terms.
        larger: whether only larger values in the second sample count as a difference.
    """
    points = np.unique(values)
    if len(points) > _POINTS:
        points = points[np.linspace(0, len(points) - 1, _POINTS).round().astype(int)]
    below = (values[:, None] <= points).astype(np.float64)
    differences, by_chance = sides.weight @ below, signs @ _terms(below, sides)
    if not larger:
        differences, by_chance = np.abs(differences), np.abs(by_chance)
    statistic, by_chance = float(differences.max()), by_chance.max(axis=1)
    return Compared(statistic, p_value(statistic, by_chance), by_chance)


def shares(values: Texts, sides: Sides, signs: Floats) -> Compared:
    """Pearson's chi-squared distance of two samples' shares of each value.

    Args:
        values: (N,), those of the first sample first.
        sides: how they are resampled.
        signs: (draws, units) of the terms.
    """
    names, number = np.unique(values, return_inverse=True)
    has = np.eye(len(names))[number]
    expected = np.abs(sides.weight) @ has / 2
    statistic = float(((sides.weight @ has) ** 2 / expected).sum())
    by_chance = ((signs @ _terms(has, sides)) ** 2 / expected).sum(axis=1)
    return Compared(statistic, p_value(statistic, by_chance), by_chance)


def stability_index(first: Floats, second: Floats) -> float:
    """The population stability index of two samples' shares of the same bins, (bins,) counts.

    The sum of (q - p) log(q / p), with half a count added to each bin. Customary readings: below
    0.1 little has changed, above 0.25 much (Siddiqi, "Credit Risk Scorecards", 2005).
    """
    bins = len(first)
    p = (first + 0.5) / (first.sum() + 0.5 * bins)
    q = (second + 0.5) / (second.sum() + 0.5 * bins)
    return float(((q - p) * np.log(q / p)).sum())


def binned(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Two samples' counts in bins that each hold a tenth of the first.

    A value that much of the first sample has makes bins fall together; values on an edge count to
    the bin below.
    """
    edges = np.unique(np.quantile(first, np.arange(1, _BINS) / _BINS))
    # beyond a constant lies what is new, on either side
    edges = np.unique([*edges, np.nextafter(first.min(), -np.inf)])
    edges = np.unique([*edges, first.max()])
    bins = len(edges) + 1
    return _counted(first, edges, bins), _counted(second, edges, bins)


def _counted(values: Floats, edges: Floats, bins: int) -> Floats:
    place: NDArray[np.int64] = np.searchsorted(edges, values, side="left")
    return np.bincount(place, minlength=bins).astype(np.float64)


def counted(first: Texts, second: Texts) -> tuple[Floats, Floats, Texts]:
    """Two samples' counts of each value that either has, and these values, sorted."""
    names, number = np.unique(np.concatenate([first, second]), return_inverse=True)
    counts = [
        np.bincount(each, minlength=len(names)).astype(np.float64)
        for each in (number[: len(first)], number[len(first) :])
    ]
    return counts[0], counts[1], names


def holm(p: dict[str, float], others: int = 0) -> dict[str, float]:
    """P-values corrected for their number (Holm, Scandinavian Journal of Statistics 1979).

    Args:
        p: by the name of their test.
        others: further tests, whose p-values are taken to be 1.
    """
    adjusted, least = dict[str, float](), 0.0
    for rank, name in enumerate(sorted(p, key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) + others - rank) * p[name]))
        adjusted[name] = least
    return adjusted
