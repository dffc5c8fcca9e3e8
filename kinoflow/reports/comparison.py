"""Whether the accuracies of candidates differ by more than chance: every pair of them.

Candidates are compared on the same clips, and recordings are the units that chance draws. McNemar's
test will not do: it takes clips for independent, and clips of one recording are not.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.data import clips, tables
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace

LEVEL = 0.05  # the chance of any false verdict among all pairs
ALIKE = "cannot be told apart"
_EXACT = 14  # recordings that differ, up to which all patterns of signs are tried
_DRAWS = 20_000  # patterns of signs that are drawn for more recordings


def of_reports(
    workspace: Workspace, candidates: Sequence[str], *, bootstrap: int, seed: int
) -> pd.DataFrame:
    """Compare evaluated candidates on their test clips.

    Args:
        workspace: the work tree.
        candidates: their names; of each pair, `a` is the one that comes first here.
        bootstrap: how often recordings are resampled for an interval.
        seed: of the resampling, and of the signs where they are drawn.

    Returns:
        The table `tables.COMPARISON`.

    Raises FileNotFoundError for a candidate without a report, and UserError if two were scored on
    different clips.
    """
    groups = clips.split_table(workspace).set_index("video")["group"]
    hits: dict[str, pd.Series] = {}
    for name in candidates:
        path = workspace.report(name) / "predictions.csv"
        table = tables.read(path, tables.PREDICTIONS).set_index("video")
        hits[name] = (table["predicted"] == table["label"]).sort_index()
        videos = hits[candidates[0]].index
        if not hits[name].index.equals(videos) or not videos.isin(groups.index).all():
            raise UserError(
                f"{candidates[0]} and {name} were not scored on the same clips: run `make repro`"
            )
    recordings = groups[videos].to_numpy() if hits else np.array([])
    arrays = {name: series.to_numpy(bool) for name, series in hits.items()}
    return compare(arrays, recordings, bootstrap=bootstrap, seed=seed)


def compare(
    hits: Mapping[str, NDArray[np.bool_]], groups: NDArray, *, bootstrap: int, seed: int
) -> pd.DataFrame:
    """Compare every pair of candidates.

    The interval of a difference is the 95% percentile interval over resampled recordings. p is that
    of a permutation test: if two candidates are equally good, then exchanging their answers to all
    clips of a recording is as likely as not. Holm's correction ("A simple sequentially rejective
    multiple test procedure", 1979) keeps the chance of any false verdict among all pairs at 5%.
    The verdict goes by the corrected p. An interval is for one pair alone, so it may leave out 0
    where the verdict is that two candidates cannot be told apart.

    Args:
        hits: for each candidate, whether it was right about each clip (N,).
        groups: (N,) the recording of each clip.
        bootstrap: how often recordings are resampled.
        seed: of the resampling, and of the signs where they are drawn.

    Returns:
        The table `tables.COMPARISON`, with a row for each pair; `a` comes before `b` in `hits`.
    """
    names = list(hits)
    pairs = list(combinations(range(len(names)), 2))
    if not pairs:
        return tables.empty(tables.COMPARISON)
    which, recording = np.unique(groups, return_inverse=True)
    belongs = np.eye(len(which))[recording]  # (N, recordings)
    right = belongs.T @ np.column_stack([hits[name] for name in names]).astype(float)
    first, second = np.transpose(pairs)
    gains = right[:, first] - right[:, second]  # (recordings, pairs)
    size = belongs.sum(axis=0)
    differences = gains.sum(axis=0) / size.sum()
    low, high = intervals(gains, size, bootstrap, seed)
    p = sign_flip_p(gains, seed)
    corrected = holm(p)
    verdicts = [
        f"{names[a if difference > 0 else b]} is better" if value < LEVEL else ALIKE
        for (a, b), difference, value in zip(pairs, differences, corrected, strict=True)
    ]
    return pd.DataFrame(
        {
            "a": [names[a] for a, _ in pairs],
            "b": [names[b] for _, b in pairs],
            "difference": differences.round(6),
            "low": low.round(6),
            "high": high.round(6),
            "p": p.round(6),
            "p_holm": corrected.round(6),
            "verdict": verdicts,
        }
    )


def intervals(
    gains: NDArray[np.float64],
    size: NDArray[np.float64],
    resamples: int,
    seed: int,
    *,
    confidence: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The percentile interval of each pair's difference; all pairs share the resampled recordings.

    Args:
        gains: (recordings, pairs) how many more clips of a recording one candidate got right than
            the other.
        size: (recordings,) how many clips each recording has.
        resamples: how often recordings are resampled.
        seed: of the resampling.
        confidence: of the interval.

    Returns:
        The lower and the upper ends, (pairs,) each.
    """
    recordings = len(size)
    drawn = np.random.default_rng(seed).integers(0, recordings, (resamples, recordings))
    # how often each resample holds each recording
    counts = np.apply_along_axis(np.bincount, 1, drawn, minlength=recordings).astype(float)
    differences = counts @ gains / (counts @ size)[:, None]
    outside = round(50 * (1 - confidence), 9)
    low, high = np.percentile(differences, [outside, 100 - outside], axis=0)
    return low, high


def sign_flip_p(gains: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """p of a two-sided permutation test for each pair of candidates.

    p is the share of patterns of signs under which the sum of the gains is at least as far from 0
    as it is. Up to 14 recordings with a gain, all patterns are tried. For more, 20,000 are drawn,
    and the one at hand is counted with them (Phipson and Smyth, 2010), so that p is never 0.

    Args:
        gains: (recordings, pairs) how many more clips of a recording one candidate got right than
            the other; whole numbers.
        seed: of the patterns that are drawn.

    Returns:
        (pairs,).
    """
    found = np.abs(gains.sum(axis=0))
    p = np.empty(gains.shape[1])
    # a recording without a gain adds nothing, whatever its sign
    few = np.count_nonzero(gains, axis=0) <= _EXACT
    # those with a gain first, so that the others can be left out
    sorted_gains = np.take_along_axis(gains, np.argsort(gains == 0, axis=0, kind="stable"), axis=0)
    kept = sorted_gains[:_EXACT, few]
    numbers = np.arange(2 ** len(kept))[:, None]
    signs = 1.0 - 2 * (numbers >> np.arange(len(kept)) & 1)
    p[few] = (np.abs(signs @ kept) >= found[few]).mean(axis=0)
    if not few.all():
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], (_DRAWS, len(gains)))
        as_far = (np.abs(signs @ gains[:, ~few]) >= found[~few]).sum(axis=0)
        p[~few] = (as_far + 1) / (_DRAWS + 1)
    return p


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's corrected p of each of several tests (tests,), in the order that they are given."""
    order = np.argsort(p, kind="stable")
    stepwise = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepwise, 1)
    return corrected
