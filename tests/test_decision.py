"""When the newest model replaces the champion: every border of the rule, and the words for it."""

from typing import Any

import numpy as np
import pytest

from kinoflow.config import Promotion
from kinoflow.reports import comparison
from kinoflow.reports.decision import (
    MIN_RECORDINGS,
    Decision,
    Difference,
    Evidence,
    Recall,
    decide,
)
from tests.documents import contender, evidence

LIMITS = Promotion(margin=0.02, min_clips=30, class_floor=0.5, max_calibration_error=0.2)


def judged(found: Evidence | None, limits: Promotion = LIMITS, **more: Any) -> Decision:
    return decide("new", "old", found, limits, **more)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.02, 0.05, "promote"),  # exactly the margin
        (-0.0201, 0.05, "hold"),
        (0.01, 0.05, "promote"),
        (-0.3, -0.02, "hold"),  # may be exactly at the margin
        (-0.3, -0.0201, "reject"),
        (0.0, 0.0, "promote"),
    ],
)
def test_the_interval_of_the_difference_decides(low: float, high: float, verdict: str) -> None:
    made = judged(evidence(low, high))
    assert made.verdict == verdict
    assert f"({'95%'} interval" in made.reason
    assert "60 clips of 20 recordings" in made.reason


def test_the_first_model_promotes_itself_and_the_champion_stays_the_champion() -> None:
    assert decide("new", None, None, LIMITS).verdict == "first"
    assert decide("old", "old", None, LIMITS).verdict == "unchanged"


@pytest.mark.parametrize(
    ("limits", "found", "word"),
    [
        ({}, {"challenger": contender("new", ece=0.2001)}, "calibration error is 0.200"),
        ({"max_latency_ms": 4.9}, {}, "5.0 ms for a clip, over 4.9"),
        ({"max_size_mb": 1.9}, {}, "2.00 MB, over 1.9"),
        ({}, {"recalls": (Recall(label="Fall", found=4, clips=9, champion=None),)}, "4 of 9"),
        ({"class_floors": {"Run": 0.91}}, {}, "finds 9 of 10 clips, and must find 91%"),
    ],
)
def test_a_broken_limit_rejects_even_a_better_model(
    limits: dict[str, Any], found: dict[str, Any], word: str
) -> None:
    made = judged(evidence(0.01, 0.1, **found), LIMITS.model_copy(update=limits))
    assert made.verdict == "reject"
    assert word in made.reasons[0]


def test_limits_that_are_just_kept_reject_nothing() -> None:
    limits = LIMITS.model_copy(
        update={"max_latency_ms": 5.0, "max_size_mb": 2.0, "class_floors": {"Run": 0.9}}
    )
    just = evidence(challenger=contender("new", ece=0.2))
    assert judged(just, limits).verdict == "promote"


@pytest.mark.parametrize(
    ("found", "word"),
    [
        ({"clips": 29}, "only 29 test clips"),
        ({"difference": None}, "only 0 test clips"),
        ({"known": False}, "not known which clips the champion was trained on"),
        ({"lost_labels": ("Fall",)}, "does not know Fall, which the champion knows"),
        (
            {
                "difference": Difference(
                    clips=60, recordings=MIN_RECORDINGS - 1, value=0.1, low=0.1, high=0.1
                )
            },
            "from only 9 recordings",
        ),
    ],
)
def test_what_numbers_cannot_decide_a_person_does(found: dict[str, Any], word: str) -> None:
    made = judged(evidence(**found))
    assert made.verdict == "hold"
    assert word in made.reason


def test_a_model_that_was_rolled_back_is_not_promoted_again_unasked() -> None:
    made = judged(evidence(0.01, 0.1), rolled_back="2026-11-28")
    assert made.verdict == "hold"
    assert "rolled back on 2026-11-28" in made.reasons[0]


def test_a_class_with_a_floor_of_its_own_has_to_be_tested() -> None:
    made = judged(evidence(), LIMITS.model_copy(update={"class_floors": {"Fall": 0.9}}))
    assert made.verdict == "hold"
    assert "no test clip shows Fall" in made.reason


def test_new_code_around_the_same_model_needs_no_clips() -> None:
    found = evidence(same_model=True, difference=None, left_out=60, known=False)
    assert judged(found).verdict == "promote"


def test_what_was_left_out_is_told() -> None:
    made = judged(
        evidence(clips=40, left_out=7, unknown_clips=5, new_labels=("<b>", "Jump"), folds=True)
    )
    assert made.verdict == "promote"
    assert "7 of 40 test clips are left out" in made.reason
    assert "it also knows <b>, Jump" in made.reason
    assert "on the folds" in made.reason


def test_the_interval_resamples_recordings_and_widens_with_confidence() -> None:
    # four recordings that are right or wrong as a whole
    gains, size = np.array([[5.0], [-5.0], [5.0], [-5.0]]), np.full(4, 5.0)
    low, high = comparison.intervals(gains, size, 2000, 0)
    wide_low, wide_high = comparison.intervals(gains, size, 2000, 0, confidence=0.999)
    assert (low[0], high[0]) == (-1, 1)
    gains, size = np.tile(gains, (10, 1)), np.tile(size, 10)
    low, high = comparison.intervals(gains, size, 2000, 0)
    wide_low, wide_high = comparison.intervals(gains, size, 2000, 0, confidence=0.999)
    assert -0.4 < low[0] < -0.2
    assert wide_low[0] < low[0] < high[0] < wide_high[0]
