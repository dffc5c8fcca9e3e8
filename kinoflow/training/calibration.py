"""Fit the temperature with which a trained model's probabilities are calibrated."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax

from kinoflow.bundle import Bundle, Probabilities, log_probabilities
from kinoflow.data.clips import ClipSet

_BOUNDS = (0.05, 20.0)  # of the temperature
_PLACES = 4  # after the point, so that rounding errors of the model do not reach bundle.json


def temperature_on(model: Bundle, clipset: ClipSet, recordings: int) -> float:
    """The temperature that calibrates a bundle's answers to clips it was not trained on.

    Args:
        model: the bundle; its own temperature does not matter.
        clipset: the validation clips.
        recordings: how many recordings these were cut from.
    """
    rows = range(len(clipset))
    answers = np.concatenate([model.pooled(clipset.clip(row)[None]) for row in rows])
    return fit_temperature(answers, clipset.labels, recordings)


def fit_temperature(
    probabilities: Probabilities, truth: NDArray[np.int64], recordings: int
) -> float:
    """The temperature that minimises the cross-entropy of calibrated probabilities.

    Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017). They fit to targets of 1 for
    the true class and 0 for others. Then a model that is right about every clip would get a
    temperature of 0, and would claim to be certain. Few validation clips are often all right. So
    the targets here are those of Platt ("Probabilistic Outputs for Support Vector Machines", 1999):
    of `n` answers that were all right, the next is right with a probability of (n + 1) / (n + 2),
    by Laplace's rule of succession. That is the target of the true class; the other classes share
    1 / (n + 2). There is one temperature for all classes, so `n` counts all of them together. It
    counts recordings, because clips of one recording tend to be all right or all wrong: forty
    clips of one recording show little more than one clip does.

    Args:
        probabilities: float32 (N, classes), averaged over views and not calibrated.
        truth: (N,) class indices.
        recordings: how many recordings the clips were cut from.

    Returns:
        The temperature, from 0.05 to 20. It is 20 if no finite one is best, as for a model that is
        wrong more often than chance.
    """
    classes = probabilities.shape[1]
    missing = 1 / (recordings + 2)
    targets = np.full(probabilities.shape, missing / (classes - 1))
    targets[np.arange(len(truth)), truth] = 1 - missing
    logits = log_probabilities(probabilities)
    logits -= logits.max(axis=1, keepdims=True)

    def slope(inverse: float) -> float:
        """Of the cross-entropy, by the inverse temperature, in which it is convex."""
        return float(((softmax(inverse * logits, axis=1) - targets) * logits).sum(axis=1).mean())

    lowest, highest = (1 / bound for bound in reversed(_BOUNDS))
    if slope(lowest) >= 0:
        best = lowest
    elif slope(highest) <= 0:
        best = highest
    else:
        best = brentq(slope, lowest, highest, xtol=1e-10)
    return round(1 / best, _PLACES)
