"""What `benchmarks.accuracy` measured, as tables in Markdown."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinoflow.reports import metrics

FOLDS = (1, 2, 3)

# What was measured: by candidate, then by fold ("2"), or by fold and repeat ("2.1").
Results = dict[str, dict[str, dict[str, Any]]]


def summary(results: Results) -> str:
    """A row per candidate: the accuracy of each fold, their mean and its 95% interval."""
    lines = [
        "| candidate | parameters | split 1 | split 2 | split 3 | mean | 95% interval | macro F1 "
        "| minutes a split |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rows = []
    for name, scored in results.items():
        parts = list(scored.values())
        folds = [
            [part for key, part in scored.items() if key.partition(".")[0] == str(fold)]
            for fold in FOLDS
        ]
        accuracies = [float(np.mean(_joined(of_fold, "hits"))) for of_fold in folds if of_fold]
        cells = [f"{value:.3f}" for value in accuracies] + [""] * (len(FOLDS) - len(accuracies))
        low, high = _interval(_joined(parts, "hits"), parts)
        scores = [_f1(part) for part in parts]
        minutes = max(part["minutes"] for part in parts)
        rows.append(
            (
                -float(np.mean(accuracies)),
                f"| {name} | {parts[0]['parameters']:,} | {' | '.join(cells)} "
                f"| {np.mean(accuracies):.3f} | {low:.3f} to {high:.3f} "
                f"| {np.mean(scores):.3f} | {minutes:.1f} |",
            )
        )
    return "\n".join(lines + [row for _, row in sorted(rows)])


def choices(results: Results, bases: list[str]) -> str:
    """A row per choice: the accuracy of each base candidate with it, and its gain over all of them.

    The choice `no_flip` of the base `lrcn` is the candidate `lrcn_no_flip`. The gain compares the
    answers with and without the choice clip by clip, over all clips that were scored both ways.
    """
    lines = [
        f"| choice | {' | '.join(bases)} | gain | 95% interval | answers |",
        f"|---|{'---:|' * (len(bases) + 3)}",
    ]
    rows = []
    for choice in {n.removeprefix(base) for n in results for base in bases if n.startswith(base)}:
        cells, chosen, without = [], [], []
        for base in bases:
            scored = results.get(base + choice, {})
            parts = list(scored.values())
            cells.append(f"{np.mean(_joined(parts, 'hits')):.3f}" if parts else "")
            both = sorted(scored.keys() & results.get(base, {}).keys())
            chosen += [scored[key] for key in both]
            without += [results[base][key] for key in both]
        if not chosen:
            continue
        gains = _joined(chosen, "hits").astype(int) - _joined(without, "hits")
        low, high = _interval(gains, chosen)
        row = f"| {choice.lstrip('_, ') or 'none'} | {' | '.join(cells)} "
        row += f"| {gains.mean():+.3f} | {low:+.3f} to {high:+.3f} | {len(gains)} |"
        rows.append((-gains.mean(), row))
    return "\n".join(lines + [row for _, row in sorted(rows)])


def _joined(parts: list[dict[str, Any]], what: str) -> NDArray:
    return np.concatenate([part[what] for part in parts])


def _interval(values: NDArray, parts: list[dict[str, Any]]) -> tuple[float, float]:
    """The 95% interval of the mean over all parts' clips, resampled by recording.

    A recording that several parts hold counts as one.
    """
    return metrics.bootstrap_interval(values, _joined(parts, "groups"), 2000, 0)


def _f1(part: dict[str, Any]) -> float:
    truth: NDArray = np.array(part["labels"])
    table = metrics.per_class(truth, np.array(part["predicted"]), tuple(map(str, np.unique(truth))))
    return float(table["f1"].mean())
