"""Whether the service sees what its model was tested on: several tests, corrected for their number.

Each compares held-out clips with the service's latest answers in one respect.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from kinoflow.monitor.answers import Answers, Floats, HeldOut, Texts
from kinoflow.monitor.inputs import NUMBERS
from kinoflow.monitor.resampling import Sides, sides, signs
from kinoflow.monitor.statistics import (
    Compared,
    binned,
    counted,
    holm,
    kernel_mmd,
    kolmogorov_smirnov,
    novelty,
    shares,
    stability_index,
)

RESPECTS = ("features", "novelty", *NUMBERS, "codec", "label", "confidence")
LEAST_ANSWERS = 20
LEAST_RECORDINGS = 8  # with fewer, chance alone gives any difference
LOOKS_PER_WEEK = 7

_PRECISION = 2  # draws are this many times as many as the smallest p-value asks for
_MOST_WEIGHT = 5.0  # of a held-out clip that stands for a label that answers have more often
_LITTLE = 0.1  # stability index below which an input has not changed, whatever its p-value

_UNKNOWN = "not known of enough videos"
_SAME = "the same in all videos"


class Comparison(BaseModel):
    """How answers compare with held-out clips in one respect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # features, one of `inputs.NUMBERS`, codec, label or confidence
    statistic: Literal["squared MMD", "Kolmogorov-Smirnov", "chi-squared"]
    value: float | None = None  # of the statistic; None: it was not tested
    by_chance: float | None = None  # what 95% of samples from the same source stay below
    p: Annotated[float, Field(ge=0, le=1)] | None = None
    adjusted: float | None = None  # p corrected for all tests of this look (Holm)
    psi: float | None = None  # population stability index
    before: float | None = None  # median of held-out clips
    now: float | None = None  # median of the answers
    changed: bool = False
    word: str = ""  # why it was not tested


def level(false_alarms: float) -> float:
    """The level of one look's tests together, so that a week of daily looks has the one given."""
    return float(1 - (1 - false_alarms) ** (1 / LOOKS_PER_WEEK))


def compare(
    reference: HeldOut,
    answers: Answers,
    *,
    false_alarms: float,
    draws: int,
    others: int = 0,
    seed: int = 0,
) -> list[Comparison]:
    """Compare the service's latest answers with answers to held-out clips.

    Args:
        reference: the latter.
        answers: the former, in the order of their time.
        false_alarms: of the weeks of daily looks at traffic that has not changed, the part in which
            anything may seem changed.
        draws: resamples behind each p-value, at least. As many are drawn as corrected p-values of
            that level need.
        others: how many tests there are beside these in the same look.
        seed: of the resamples.

    Returns a comparison for each respect. Raises ValueError for fewer than 20 answers or 8
    recordings: then there is nothing to compare.
    """
    if len(answers) < LEAST_ANSWERS or len(np.unique(reference.recording)) < LEAST_RECORDINGS:
        raise ValueError("too little to compare")
    alpha = level(false_alarms)
    draws = max(draws, int(np.ceil(_PRECISION * (len(RESPECTS) + others) / alpha)))
    tests = _Tests(reference, answers, draws, np.random.default_rng(seed))
    comparisons = [*tests.all()]
    adjusted = holm({each.name: each.p for each in comparisons if each.p is not None}, others)
    return [
        each.model_copy(
            update={
                "adjusted": adjusted.get(each.name),
                "changed": adjusted.get(each.name, 1.0) <= alpha
                and (each.psi is None or each.psi >= _LITTLE),
            }
        )
        for each in comparisons
    ]


class _Tests:
    """The tests of one look, which share their resamples."""

    def __init__(
        self, reference: HeldOut, answers: Answers, draws: int, rng: np.random.Generator
    ) -> None:
        self._reference = reference
        self._answers = answers
        self._draws = draws
        self._rng = rng
        self._signs = dict[int, Floats]()

    def all(self) -> Iterator[Comparison]:
        reference, answers = self._reference, self._answers
        yield self._features()
        yield self._novelty()
        for name in NUMBERS:
            yield self._number(name, reference.number(name), answers.number(name))
        yield self._shares("codec", reference.codec, answers.codec)
        yield self._shares("label", reference.label, answers.label)
        yield self._number("confidence", reference.confidence, answers.confidence)

    def _features(self) -> Comparison:
        """Features at equal shares of labels: those shares themselves are compared elsewhere."""
        empty = Comparison(name="features", statistic="squared MMD")
        if word := self._featureless():
            return empty.model_copy(update={"word": word})
        reference, answers = self._reference, self._answers
        resampled = sides(
            reference.recording,
            reference.label,
            len(answers),
            answers.label,
            _weights(reference, answers),
        )
        both = np.concatenate([reference.features, answers.features])
        found = kernel_mmd(both, len(reference), resampled, self._drawn(resampled))
        return empty.model_copy(update=_values(found))

    def _novelty(self) -> Comparison:
        """Whether more answers than other held-out clips are unlike half of the held-out clips.

        Distances to the same clips vary together. If these were compared as well, chance would be
        taken for less than it is: false alarms in four times as many looks as there should be.
        """
        empty = Comparison(name="novelty", statistic="Kolmogorov-Smirnov")
        if word := self._featureless():
            return empty.model_copy(update={"word": word})
        reference = self._reference
        known = _half(reference)
        before = np.full(len(reference), np.nan)
        before[~known] = novelty(reference.features[known], reference.features[~known])
        now = novelty(reference.features[known], self._answers.features)
        return self._number("novelty", before, now, larger=True)

    def _featureless(self) -> str:
        """Why features cannot be compared; "" if they can."""
        first, second = self._reference.features, self._answers.features
        if first.shape[1] != second.shape[1] or not first.shape[1]:
            return "this model has no features to compare"
        both = np.concatenate([first, second])
        return "" if (both.max(axis=0) > both.min(axis=0)).any() else "all features are constant"

    def _number(
        self, name: str, before: Floats, now: Floats, *, larger: bool = False
    ) -> Comparison:
        empty = Comparison(name=name, statistic="Kolmogorov-Smirnov")
        had, has = ~np.isnan(before), ~np.isnan(now)
        resampled = self._sides(had, has)
        if resampled is None:
            return empty.model_copy(update={"word": _UNKNOWN})
        before, now = before[had], now[has]
        medians = {"before": float(np.median(before)), "now": float(np.median(now))}
        empty = empty.model_copy(update=medians)
        both = np.concatenate([before, now])
        if both.min() == both.max():
            return empty.model_copy(update={"word": _SAME})
        found = kolmogorov_smirnov(both, resampled, self._drawn(resampled), larger=larger)
        first, second = binned(before, now)
        return empty.model_copy(update=_values(found) | {"psi": stability_index(first, second)})

    def _shares(self, name: str, before: Texts, now: Texts) -> Comparison:
        empty = Comparison(name=name, statistic="chi-squared")
        had, has = before != "", now != ""
        resampled = self._sides(had, has)
        if resampled is None:
            return empty.model_copy(update={"word": _UNKNOWN})
        first, second, names = counted(before[had], now[has])
        if len(names) == 1:
            return empty.model_copy(update={"word": _SAME})
        both = np.concatenate([before[had], now[has]])
        found = shares(both, resampled, self._drawn(resampled))
        return empty.model_copy(update=_values(found) | {"psi": stability_index(first, second)})

    def _sides(self, had: NDArray[np.bool_], has: NDArray[np.bool_]) -> Sides | None:
        """How those that have a value are resampled; None if there are too few."""
        if had.all() and has.all():
            return self._whole
        recordings = self._reference.recording[had]
        if len(np.unique(recordings)) < LEAST_RECORDINGS or has.sum() < LEAST_ANSWERS:
            return None
        return sides(recordings, self._reference.truth[had], int(has.sum()))

    @cached_property
    def _whole(self) -> Sides:
        return sides(self._reference.recording, self._reference.truth, len(self._answers))

    def _drawn(self, resampled: Sides) -> Floats:
        units = resampled.units
        if units not in self._signs:
            self._signs[units] = signs(self._draws, units, self._rng)
        return self._signs[units]


def _half(reference: HeldOut) -> NDArray[np.bool_]:
    """(R,), the clips of every second recording of each class."""
    chosen: list[str] = []
    for name in np.unique(reference.truth):
        chosen += np.unique(reference.recording[reference.truth == name])[::2].tolist()
    return np.isin(reference.recording, chosen)


def _weights(reference: HeldOut, answers: Answers) -> Floats:
    """Of held-out clips, (R,): so that each label has the weight that it has among the answers."""
    before, now, names = counted(reference.label, answers.label)
    ratio = (now / len(answers)) / np.maximum(before / len(reference), 1e-12)
    ratio = np.minimum(ratio, _MOST_WEIGHT)
    weights: Floats = ratio[np.searchsorted(names, reference.label)]
    # no label in common
    return weights if weights.any() else np.ones(len(reference))


def _values(found: Compared) -> dict[str, float]:
    return {
        "value": found.statistic,
        "by_chance": float(np.quantile(found.by_chance, 0.95)),
        "p": found.p,
    }
