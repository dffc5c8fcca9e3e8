"""What benchmarks/restyle.py tells of trainings with and without restyled clips."""

from typing import Any

import numpy as np
import pytest

from benchmarks import accuracy, restyle, restyle_data, restyle_page
from benchmarks.restyle_page import Results

PARAMS = accuracy.read_params(restyle.OVERLAY)
RECORDINGS = [f"r{number}" for number in range(20) for _ in range(2)]


def trained(hits: np.ndarray) -> dict[str, Any]:
    return {
        "hits": {"plain": hits.tolist(), "night": [True] * len(hits)},
        "groups": RECORDINGS,
        "train_accuracy": 0.9,
        "processor_minutes": 1.5,
    }


@pytest.fixture
def results() -> Results:
    """Two trainings: one that gains all that it lacked, and one whose other half is missing."""
    few, all_ = np.arange(40) < 10, np.full(40, True)
    seeds = {
        "seed 1": {"without": trained(few), "with": trained(all_)},
        "seed 2": {"without": trained(few)},
    }
    return {"rendered": {"lrcn": seeds}}


def test_differences_are_of_trainings_that_have_a_counterpart(results: Results) -> None:
    plain, night = restyle_page.rows(results, 7)
    assert (plain.look, night.look) == ("plain", "night")
    assert (plain.answers, plain.recordings) == (40, 20)
    assert (plain.without, plain.restyled, plain.difference) == (0.25, 1.0, 0.75)
    assert 0.5 < plain.low < 0.75 < plain.high < 1
    assert plain.p < 0.01
    assert (night.difference, night.low, night.high, night.p) == (0, 0, 0, 1)


def test_the_page_says_what_helped_what_harmed_and_what_chance_may_have_done(
    results: Results,
) -> None:
    text = restyle_page.page(results, PARAMS, 0.5, 200)
    assert "restyled clips made 1 better: `lrcn`, rendered, plain (+0.750)." in text
    assert "They made 0 worse.\nThe other 1 cannot be told from chance." in text
    assert "4 processor minutes of training" in text  # 4.5, to the even one

    (seed,) = [results["rendered"]["lrcn"]["seed 1"]]
    seed["with"], seed["without"] = seed["without"], seed["with"]
    text = restyle_page.page(results, PARAMS, 0.5, 200)
    assert "made 0 better.\nThey made 1 worse: `lrcn`, rendered, plain (-0.750)." in text


def test_trainings_with_and_without_differ_in_restyling_alone() -> None:
    run = PARAMS.resolve("lrcn")
    changed = restyle.restyled(run, 0.5)
    assert (changed.augment.restyle, len(changed.augment.styles)) == (0.5, 4)
    assert restyle.restyled(changed, 0.0) == run


def test_recordings_that_are_tested_on_are_not_trained_on() -> None:
    sides = [restyle_data.side_of(group / 40) for group in range(1, 41)]
    assert [sides.count(side) for side in ("train", "val", "test")] == [16, 4, 20]
