"""Whether the newest model replaces the champion: what is compared, and how that is judged.

The challenger is the newest model, the champion the one that is served. Both are scored on the
same test clips. `decide` looks at the numbers alone: the same numbers are always judged the same.
"""

from collections.abc import Sequence
from typing import Literal

from kinoflow.config import Promotion
from kinoflow.reports.records import Document, Record

Verdict = Literal["promote", "hold", "reject", "first", "unchanged"]

# an interval that resamples fewer recordings than this is too narrow to decide by
MIN_RECORDINGS = 10
_SHOWN = 5  # classes that a reason names


class Contender(Record):
    """One of the two models that are compared."""

    version: str  # of its Bento
    candidate: str  # its name
    # on the clips that count; None if there are none
    accuracy: float | None
    # expected calibration error; of the challenger on all test clips, of the champion on those that
    # count
    ece: float | None
    latency_ms: float  # median time to classify one clip, both measured in the same run
    size_mb: float  # of model.keras


class Difference(Record):
    """The challenger's accuracy less the champion's, on the same clips."""

    clips: int
    recordings: int
    value: float
    low: float  # of the interval, recordings resampled
    high: float


class Recall(Record):
    """How many test clips of a class the challenger found."""

    label: str
    found: int
    clips: int
    champion: float | None  # the champion's recall on those of them that count


class Evidence(Document):
    """work/challenge.json: what champion and challenger score on the present test clips."""

    stage = "challenge"

    champion: Contender
    challenger: Contender
    same_model: bool  # the two Bentos differ in code or settings alone
    clips: int  # on the test side, or in all folds
    folds: bool  # the challenger's answers are those of models that were trained on folds
    # whether the champion's Bento says which clips it was trained on
    known: bool
    left_out: int  # test clips that the champion was trained on or chosen by
    unknown_clips: int  # test clips of classes that the champion does not know; not counted either
    new_labels: tuple[str, ...] = ()  # that the challenger knows, and the champion does not
    lost_labels: tuple[str, ...] = ()  # the other way round
    confidence: float  # of the interval
    difference: Difference | None = None  # None: no clips are left to compare on
    recalls: tuple[Recall, ...] = ()


class Decision(Document):
    """reports/decision.json: whether the newest model became champion, and why."""

    stage = "promote"

    verdict: Verdict | None = None  # None: nothing was decided yet
    # sentences without their full stops, the decisive ones first
    reasons: tuple[str, ...] = ("no model was proposed as champion yet",)
    challenger: str | None = None  # the versions of both Bentos
    champion: str | None = None
    evidence: Evidence | None = None
    limits: Promotion | None = None  # that it was judged by
    decided: str | None = None  # when, in UTC
    until: str | None = None  # hold: a person decides until then
    run: str | None = None  # hold: the flow run of Prefect that waits for a person
    person: bool = False  # whether a person decided
    since: str | None = None  # what happened to the promoted model since, such as a rollback
    basis: str | None = None  # MD5 over what it was decided from

    @property
    def reason(self) -> str:
        """All reasons as one sentence."""
        return "; ".join(self.reasons)


def decide(
    challenger: str,
    champion: str | None,
    evidence: Evidence | None,
    limits: Promotion,
    *,
    rolled_back: str | None = None,
) -> Decision:
    """Judge whether a model replaces the champion.

    It is promoted if its accuracy is shown to be no lower than the champion's by more than
    `limits.margin`, and all limits hold. This is a test of non-inferiority: the lower end of the
    interval of the paired difference has to lie above the margin (Piaggio et al., "Reporting of
    Noninferiority and Equivalence Randomized Trials", JAMA 2012). It is rejected if a limit is
    broken, or if the whole interval lies below the margin. Otherwise a person decides.

    Args:
        challenger: the version of its Bento.
        champion: the version of the champion's; None if there is none.
        evidence: what the two score; None if they are the same Bento or there is no champion.
        limits: the section `promotion` of params.yaml.
        rolled_back: when this model was champion and was rolled back; None: it never was.
    """
    verdict, reasons = _judged(challenger, champion, evidence, limits, rolled_back)
    return Decision(
        verdict=verdict,
        reasons=(*reasons, *(_notes(evidence) if evidence else ())),
        challenger=challenger,
        champion=champion,
        evidence=evidence,
        limits=limits,
    )


def _judged(
    challenger: str,
    champion: str | None,
    evidence: Evidence | None,
    limits: Promotion,
    rolled_back: str | None,
) -> tuple[Verdict, tuple[str, ...]]:
    if champion is None:
        return "first", ("there is no champion yet, so the first model promotes itself",)
    if challenger == champion:
        return "unchanged", ("the newest model is the champion already",)
    assert evidence is not None
    if broken := _broken(evidence, limits):
        return "reject", broken
    doubts = _doubts(evidence, limits, rolled_back)
    if evidence.same_model and not doubts:
        why = "it is the champion's model, with other code or settings of the service"
        return "promote", (why,)
    verdict, compared = _compared(evidence, limits)
    return ("hold", (*doubts, *compared)) if doubts else (verdict, compared)


def _broken(evidence: Evidence, limits: Promotion) -> tuple[str, ...]:
    """Which limits the challenger breaks, as sentences."""
    one = evidence.challenger
    found = []
    low = [
        f"{each.label} (it finds {each.found} of {each.clips} clips, and must find "
        f"{_percent(floor)})"
        for each in evidence.recalls
        for floor in [limits.class_floors.get(each.label, limits.class_floor)]
        if each.clips and each.found / each.clips < floor
    ]
    if low:
        found.append(f"its recall is below the floor for {_listed(low)}")
    if limits.max_latency_ms is not None and one.latency_ms > limits.max_latency_ms:
        found.append(
            f"it takes {one.latency_ms:.1f} ms for a clip, over {limits.max_latency_ms:g}; the "
            f"champion took {evidence.champion.latency_ms:.1f} in the same run"
        )
    if limits.max_size_mb is not None and one.size_mb > limits.max_size_mb:
        found.append(f"it has {one.size_mb:.2f} MB, over {limits.max_size_mb:g}")
    if one.ece is not None and one.ece > limits.max_calibration_error:
        found.append(
            f"its calibration error is {one.ece:.3f}, over {limits.max_calibration_error:g}"
        )
    return tuple(found)


def _doubts(evidence: Evidence, limits: Promotion, rolled_back: str | None) -> tuple[str, ...]:
    """What a person has to judge whatever the accuracies are, as sentences."""
    found = []
    if rolled_back is not None:
        found.append(f"this model was champion before, and was rolled back on {rolled_back}")
    if evidence.lost_labels:
        found.append(f"it does not know {_listed(evidence.lost_labels)}, which the champion knows")
    untested = [
        label
        for label in limits.class_floors
        if label not in {each.label for each in evidence.recalls if each.clips}
    ]
    if untested:
        found.append(f"no test clip shows {_listed(untested)}, which has a floor of its own")
    if evidence.same_model:
        return tuple(found)
    if not evidence.known:
        found.append("it is not known which clips the champion was trained on")
    counted = evidence.difference.clips if evidence.difference else 0
    if counted < limits.min_clips:
        found.append(
            f"only {counted} test clips are new to both models and of classes that both know, "
            f"and {limits.min_clips} are needed"
        )
    elif evidence.difference and evidence.difference.recordings < MIN_RECORDINGS:
        found.append(
            f"the clips that count come from only {evidence.difference.recordings} recordings, "
            f"and {MIN_RECORDINGS} are needed"
        )
    return tuple(found)


def _compared(evidence: Evidence, limits: Promotion) -> tuple[Verdict, tuple[str, ...]]:
    """What the paired difference shows, and in a sentence."""
    if evidence.difference is None:
        return "hold", ()
    found = evidence.difference
    interval = (
        f"the difference in accuracy on the same {found.clips} clips of {found.recordings} "
        f"recordings is {_points(found.value)} points ({_percent(evidence.confidence)} interval "
        f"{_points(found.low)} to {_points(found.high)})"
    )
    margin = f"{100 * limits.margin:g} points"
    if found.low >= -limits.margin:
        better = found.low > 0
        shown = "it is better" if better else f"it is shown to be at most {margin} worse"
        return "promote", (f"{shown}: {interval}",)
    if found.high < -limits.margin:
        return "reject", (f"it is shown to be more than {margin} worse: {interval}",)
    return "hold", (f"whether it is more than {margin} worse is not shown: {interval}",)


def _notes(evidence: Evidence) -> tuple[str, ...]:
    """What else there is to know, as sentences."""
    found = []
    if evidence.left_out:
        found.append(
            f"{evidence.left_out} of {evidence.clips} test clips are left out, because the "
            "champion was trained on them or chosen by them"
        )
    if evidence.new_labels:
        found.append(
            f"it also knows {_listed(evidence.new_labels)}, which the champion does not: "
            f"{evidence.unknown_clips} clips of that are not compared"
        )
    if evidence.folds:
        found.append("its answers are those of its kind that were trained on the folds")
    return tuple(found)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _points(share: float) -> str:
    """A difference of two accuracies in percentage points, with its sign."""
    text = f"{100 * share:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text
