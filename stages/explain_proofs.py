"""Check that explanations can be believed: where they point, and what their order is worth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.data import tables
from kinoflow.explain import proofs
from kinoflow.explain.methods import Explainer, Explanation
from kinoflow.explain.proofs import Curves, area
from kinoflow.reports.metrics import bootstrap_interval
from kinoflow.reports.records import Forgotten, Interval, Obeyed, Pointing, Proofs
from kinoflow.system.terminal import progress
from kinoflow.video.decoder import index_rule
from kinoflow.video.spec import ClipSpec, Frames

_RANDOMISED = 6  # clips whose maps are made again after each step of randomisation


@dataclass(frozen=True)
class Explained:
    """A clip on which explanations are checked."""

    video: str
    group: str  # the recording
    clip: Frames
    label: int  # index of the class that the model answers


@dataclass(frozen=True)
class _Resampling:
    """How intervals are made."""

    resamples: int
    seed: int

    def interval(self, values: Sequence[float] | NDArray, groups: Sequence[str]) -> Interval:
        low, high = bootstrap_interval(
            np.asarray(values), np.asarray(groups), self.resamples, self.seed
        )
        return Interval(mean=_rounded(np.mean(values)), low=_rounded(low), high=_rounded(high))


def prove(
    explainer: Explainer,
    *,
    winner: str,
    checked: Sequence[Explained],
    explained: Sequence[tuple[str, Explanation]],
    truth: Path,
    bootstrap: int,
    seed: int,
    folder: Path,
) -> Proofs:
    """Check explanations, and write the curves of deletion and insertion to `folder`.

    Args:
        explainer: of the winner.
        winner: its name.
        checked: clips to make maps of.
        explained: explanations with Shapley values, each with the recording of its clip.
        truth: the table of where the actor is, whether it exists or not.
        bootstrap: how often recordings are resampled.
        seed: of all random numbers.
        folder: where curves.csv goes.
    """
    how = _Resampling(bootstrap, seed)
    maps = [explainer.maps(each.clip, each.label) for each in progress(checked, "prove: maps")]
    groups = [each.group for each in checked]
    in_space = [
        proofs.curves_in_space(explainer, each.clip, map_, each.label, (seed, number))
        for number, (each, map_) in enumerate(
            progress(list(zip(checked, maps, strict=True)), "prove: deletion and insertion")
        )
    ]
    in_time = [
        proofs.curves_in_time(each.worth[:, each.label], each.segments) for _, each in explained
    ]
    in_both = {"space": (in_space, groups), "time": (in_time, [group for group, _ in explained])}
    tables.write(
        pd.DataFrame(
            [row for parts, both in in_both.items() if both[0] for row in _rows(parts, *both, how)]
        ),
        folder / "curves.csv",
        tables.CURVES,
    )
    few = checked[:_RANDOMISED]
    steps = proofs.randomised(
        explainer,
        [each.clip for each in few],
        [each.label for each in few],
        maps[: len(few)],
        seed,
    )
    return Proofs(
        winner=winner,
        method=explainer.method,
        pointing=_pointing(checked, maps, explainer.model.clip, truth, how),
        randomisation=tuple(
            Forgotten(
                layers=step.layers,
                similarity=how.interval(step.similarity, groups[: len(few)]),
            )
            for step in steps
        ),
        space=_obeyed(*in_both["space"], how),
        time=_obeyed(*in_both["time"], how) if explained else None,
    )


def _pointing(
    checked: Sequence[Explained],
    maps: Sequence[NDArray[np.float32]],
    spec: ClipSpec,
    truth: Path,
    how: _Resampling,
) -> Pointing | None:
    """None where nobody knows where the actor is, or which frames of a video its clip shows."""
    rule = index_rule(spec)
    if not truth.exists() or rule is None:
        return None
    table = tables.read(truth, tables.TRUTH).sort_values(["video", "frame"])
    boxes = {
        video: rows[["left", "top", "right", "bottom"]].to_numpy()
        for video, rows in table.groupby("video")
    }
    if any(each.video not in boxes for each in checked):
        return None
    shares = np.array(
        [
            proofs.inside(map_, boxes[each.video][rule(len(boxes[each.video]))])
            for each, map_ in zip(checked, maps, strict=True)
        ]
    )
    return Pointing(
        clips=len(shares),
        share=_rounded(shares[:, 0].mean()),
        area=_rounded(shares[:, 1].mean()),
        more=how.interval(shares[:, 0] - shares[:, 1], [each.group for each in checked]),
    )


def _obeyed(curves: Sequence[Curves], groups: Sequence[str], how: _Resampling) -> Obeyed:
    deletion = np.array([area(each.deletion) for each in curves])
    insertion = np.array([area(each.insertion) for each in curves])
    random = np.array([area(each.random) for each in curves])
    return Obeyed(
        clips=len(curves),
        deletion=_rounded(deletion.mean()),
        insertion=_rounded(insertion.mean()),
        random=_rounded(random.mean()),
        falls_faster=how.interval(random - deletion, groups),
        returns_faster=how.interval(insertion - random, groups),
    )


def _rows(
    parts: str, curves: Sequence[Curves], groups: Sequence[str], how: _Resampling
) -> Iterator[dict[str, object]]:
    """The rows of the table `tables.CURVES` for the curves of several clips."""
    of_all = {
        ("deletion", "evidence"): [each.deletion for each in curves],
        ("deletion", "random"): [each.random for each in curves],
        ("insertion", "evidence"): [each.insertion for each in curves],
        ("insertion", "random"): [each.random[::-1] for each in curves],
    }
    for (curve, order), values in of_all.items():
        for step, column in enumerate(np.array(values).T):
            probability = how.interval(column, groups)
            yield {
                "parts": parts,
                "curve": curve,
                "order": order,
                "fraction": step / (len(values[0]) - 1),
                "probability": probability.mean,
                "low": probability.low,
                "high": probability.high,
            }


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 6)
