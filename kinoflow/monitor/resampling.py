"""How far apart two samples of whole recordings would lie if nothing had changed.

Clips of one recording resemble each other, so 144 clips of 48 recordings tell little more than 48
clips, and permuting clips would take every sample of other recordings for a change. So recordings
are what is resampled. Of the service's answers nobody knows the recordings, but answers that are
close to each other in time may belong together: there, runs of consecutive answers are resampled.

Every quantity that is compared is the mean of something over clips: of a kernel's feature map, of
"is at most t", of "has this label". The difference between two such means is a sum with one term
for each recording and each run. To see what chance does, each term less its expected value gets a
random sign, again and again: the wild bootstrap by clusters (Wu, "Jackknife, Bootstrap and Other
Resampling Methods in Regression Analysis", Annals of Statistics 1986; for kernels: Chwialkowski,
Sejdinovic and Gretton, "A Wild Bootstrap for Degenerate Kernel Tests", NeurIPS 2014). Unlike a
permutation of recordings among both samples, it does not ask that a run varies as a recording does,
and it knows that held-out recordings were drawn class by class.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kinoflow.monitor.answers import Floats, Texts

RUN = 5  # answers in a row that are resampled together
_LEAST_RUNS = 10


@dataclass(frozen=True)
class Sides:
    """Two samples of clips, those of the reference first, and how they are resampled.

    Args:
        unit: (N,), the number of the recording or run that a clip belongs to.
        stratum: (N,), numbers of what recordings were drawn from, each by itself: clips of one
            number have the same expected value. Those of the two samples differ.
        weight: (N,), above 0 in the first sample and below 0 in the second; the sum of each is 1
            and -1.
    """

    unit: NDArray[np.int64]
    stratum: NDArray[np.int64]
    weight: Floats

    @property
    def units(self) -> int:
        """How many recordings and runs there are."""
        return int(self.unit.max()) + 1

    @property
    def first(self) -> NDArray[np.bool_]:
        """(N,), whether a clip is of the first sample."""
        return self.weight > 0

    @cached_property
    def clips(self) -> Floats:
        """What each clip adds to a difference of means, less its expected value, (N, N).

        `clips @ e` gives it for the means of `e`, (N, ...).
        """
        size, strata = np.abs(self.weight), int(self.stratum.max()) + 1
        within = np.zeros((strata, len(size)))
        within[self.stratum, np.arange(len(size))] = size
        within /= np.maximum(within.sum(axis=1, keepdims=True), 1e-300)
        units = [len(np.unique(self.unit[self.stratum == number])) for number in range(strata)]
        # a mean of k terms takes a part of their variance with it
        enlarged = np.sqrt([k / max(k - 1, 1) for k in units])
        centred = np.eye(len(size)) - within[self.stratum]
        terms: Floats = (self.weight * enlarged[self.stratum])[:, None] * centred
        return terms

    def together(self, terms: Floats) -> Floats:
        """What each recording or run adds, (units, ...), from what its clips add, (N, ...)."""
        found = np.zeros((self.units, *terms.shape[1:]))
        np.add.at(found, self.unit, terms)
        return found

    def inflation(self, of_clips: Floats, of_units: Floats) -> Floats:
        """By what to multiply the terms of units, (units,): 1 for those of the first sample.

        Answers may come from few recordings, at any time of a day. As nobody knows, they are taken
        to be as dependent as the clips of the first sample: the variance of their mean is larger by
        the same factor, the design effect (Kish, "Survey Sampling", 1965).

        Args:
            of_clips: (N,), the squares of what clips add.
            of_units: (units,), the squares of what units add.
        """
        first_units = np.arange(self.units) <= self.unit[self.first].max()
        alone = float(of_clips[self.first].sum())
        effect = float(of_units[first_units].sum()) / alone if alone > 0 else 1.0
        return np.where(first_units, 1.0, np.sqrt(max(1.0, effect)))


def sides(
    recording: Texts,
    recording_stratum: Texts,
    answers: int,
    answer_stratum: Texts | None = None,
    weight: Floats | None = None,
) -> Sides:
    """How held-out clips and consecutive answers are resampled.

    Args:
        recording: (R,), of each held-out clip.
        recording_stratum: (R,), what the recordings were drawn from. A stratum with one recording
            is put together with the others of that kind.
        answers: how many answers there are, A.
        answer_stratum: (A,), of each answer; None: all are of one.
        weight: (R,), of held-out clips; None: equal.
    """
    _, first = np.unique(recording, return_inverse=True)
    strata = _numbered(first, recording_stratum)
    runs = run_numbers(answers)
    second = (
        np.zeros(answers, np.int64) if answer_stratum is None else _numbered(runs, answer_stratum)
    )
    weight = np.ones(len(first)) if weight is None else weight
    return Sides(
        unit=np.concatenate([first, first.max() + 1 + runs]),
        stratum=np.concatenate([strata, strata.max() + 1 + second]),
        weight=np.concatenate([weight / weight.sum(), -np.ones(answers) / answers]),
    )


def _numbered(unit: NDArray[np.int64], stratum: Texts) -> NDArray[np.int64]:
    """Numbers of strata; those of one unit, which show no variance, are taken together."""
    _, numbers = np.unique(stratum, return_inverse=True)
    alone = [
        number
        for number in range(int(numbers.max()) + 1)
        if len(np.unique(unit[numbers == number])) < 2
    ]
    if alone:
        rest = set(range(int(numbers.max()) + 1)) - {*alone}
        # a single one without company goes to any other
        into = alone[0] if len(alone) > 1 or not rest else min(rest)
        numbers = np.where(np.isin(numbers, alone), into, numbers)
        _, numbers = np.unique(numbers, return_inverse=True)
    return numbers.astype(np.int64)


def run_numbers(answers: int) -> NDArray[np.int64]:
    """For each of consecutive answers the number of its run; runs are about equally long."""
    runs = max(1, min(answers, max(_LEAST_RUNS, answers // RUN)))
    return (np.arange(answers) * runs // answers).astype(np.int64)


def signs(draws: int, units: int, rng: np.random.Generator) -> Floats:
    """Random signs, (draws, units)."""
    return rng.integers(0, 2, (draws, units), np.int8) * 2.0 - 1.0


def p_value(statistic: float, by_chance: Floats) -> float:
    """How often chance gives at least this, the statistic itself counted among chance's."""
    tolerance = 1e-9 * max(1.0, abs(statistic))
    return float((1 + np.sum(by_chance >= statistic - tolerance)) / (1 + len(by_chance)))
