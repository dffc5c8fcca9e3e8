"""Pairs of candidates: differences, intervals and p by recording, corrected for their number."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from kinoflow.data import tables
from kinoflow.reports import comparison
from kinoflow.reports.comparison import ALIKE, compare, holm, sign_flip_p
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace


def test_holm_against_an_example_by_hand() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1 is 0.02, 0.03, 0.06, 0.04, never falling
    corrected = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(corrected, [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_array_equal(holm(np.array([0.6, 0.7])), [1, 1])


def test_p_of_few_recordings_is_exact() -> None:
    # of 2^3 patterns of signs, all plus and all minus reach as far as 3, 2, 1
    gains = np.array([[3.0, 1, 0], [2, -1, 0], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(sign_flip_p(gains, 0), [2 / 8, 1, 1])


def test_p_of_many_recordings_is_drawn_and_near_the_exact_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gains = np.random.default_rng(1).integers(-2, 4, (14, 20)).astype(float)
    exact = sign_flip_p(gains, 0)
    monkeypatch.setattr(comparison, "_EXACT", 0)
    np.testing.assert_allclose(sign_flip_p(gains, 0), exact, atol=0.015)


def correlated(recordings: int, clips: int, pairs: int) -> np.ndarray:
    """Whether two equally good candidates are right, (2, pairs, recordings, clips).

    A candidate is right about nearly all clips of a recording or about nearly none.
    """
    rng = np.random.default_rng(3)
    easy = rng.random((2, pairs, recordings, 1)) < 0.6
    return rng.random((2, pairs, recordings, clips)) < np.where(easy, 0.95, 0.05)


def test_equal_candidates_are_told_apart_as_seldom_as_promised_unlike_with_mcnemar() -> None:
    one, other = correlated(recordings=24, clips=6, pairs=400)
    gains = (one.sum(axis=2) - other.sum(axis=2)).T.astype(float)
    assert 0.03 < (sign_flip_p(gains, 0) < 0.05).mean() < 0.07
    better = (one & ~other).sum(axis=(1, 2))
    worse = (other & ~one).sum(axis=(1, 2))
    mcnemar = [binomtest(a, a + b).pvalue for a, b in zip(better, worse, strict=True)]
    assert (np.array(mcnemar) < 0.05).mean() > 0.25


def test_a_better_candidate_is_named_and_equal_ones_are_not_told_apart() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([f"g{number:02}" for number in range(30)], 4)
    hits = {
        "poor": rng.random(120) < 0.4,
        "good": rng.random(120) < 0.85,
        "as good": rng.random(120) < 0.85,
    }
    table = compare(hits, groups, bootstrap=1000, seed=7)
    pd.testing.assert_frame_equal(table, compare(hits, groups, bootstrap=1000, seed=7))
    assert list(zip(table["a"], table["b"], table["verdict"], strict=True)) == [
        ("poor", "good", "good is better"),
        ("poor", "as good", "as good is better"),
        ("good", "as good", ALIKE),
    ]
    expected = hits["poor"].mean() - hits["good"].mean()
    assert table["difference"][0] == pytest.approx(expected, abs=1e-6)
    assert table["low"][0] < expected < table["high"][0] < 0
    assert table["low"][2] < 0 < table["high"][2]
    assert (table["p_holm"] >= table["p"]).all()
    # clips in another order are the same comparison
    shuffled = rng.permutation(120)
    moved = {name: right[shuffled] for name, right in hits.items()}
    again = compare(moved, groups[shuffled], bootstrap=1000, seed=7)
    pd.testing.assert_frame_equal(table, again)


def test_one_candidate_has_no_pairs() -> None:
    table = compare({"alone": np.array([True])}, np.array(["g"]), bootstrap=10, seed=0)
    assert len(table) == 0
    assert list(table) == list(tables.COMPARISON.columns)


def write(workspace: Workspace, name: str, videos: list[str], predicted: list[str]) -> None:
    table = pd.DataFrame({"video": videos, "label": ["A"] * len(videos), "predicted": predicted})
    tables.write(table, workspace.report(name) / "predictions.csv", tables.PREDICTIONS)


def test_reports_are_compared_clip_by_clip(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    videos = ["A/1.avi", "A/2.avi", 'A/"3\n.avi']
    split = pd.DataFrame({"video": videos, "split": "test", "group": ["a", "a", "b"]})
    tables.write(split, workspace.split, tables.SPLIT)
    values: dict[str, Any] = {
        "label": "A",
        "md5": "",
        "codec": "",
        "problem": "",
        "bytes": 1,
        "readable": True,
    }
    catalog = split.assign(**values).reindex(columns=list(tables.CATALOG.columns))
    tables.write(catalog, workspace.catalog, tables.CATALOG)
    write(workspace, "one", videos, ["A", "A", "B"])
    write(workspace, "two", videos[::-1], ["A", "B", "B"])
    table = comparison.of_reports(workspace, ["one", "two"], bootstrap=100, seed=0)
    assert table["difference"].tolist() == [pytest.approx(1 / 3, abs=1e-6)]
    # two recordings, which gain 2 and -1: three of four patterns are no nearer to 0 than 1 is
    assert table["p"].tolist() == [1.0]
    write(workspace, "two", videos[:2], ["A", "B"])
    with pytest.raises(UserError, match="one and two were not scored on the same clips"):
        comparison.of_reports(workspace, ["one", "two"], bootstrap=100, seed=0)
