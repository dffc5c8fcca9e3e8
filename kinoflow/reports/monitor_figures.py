"""The figures of the page of monitoring: held-out clips beside the service's answers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from kinoflow.monitor.answers import Floats, Texts
from kinoflow.monitor.features import Features
from kinoflow.monitor.statistics import counted
from kinoflow.reports.data_figures import BLUE, MANY, OCHRE
from kinoflow.reports.drawing import ink, new_figure, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEFORE, NOW = "held-out clips", "answers"
_BINS = 24
_PERIODS = 30  # into which the kept answers are divided, at most
_LEAST = 10  # answers of a period


def distributions(pairs: Sequence[tuple[str, Floats, Floats]]) -> "Figure":
    """Histograms of numbers, of held-out clips and of answers; each has a title."""
    columns = 2
    rows = -(-len(pairs) // columns)
    figure = new_figure(8, 2.1 * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (title, before, now) in zip(grid.flat, pairs, strict=False):
        both = np.concatenate([before, now])
        both = both[~np.isnan(both)]
        low, high = (both.min(), both.max()) if len(both) else (0.0, 1.0)
        edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
        for values, colour, name in ((before, BLUE, BEFORE), (now, OCHRE, NOW)):
            known = values[~np.isnan(values)]
            share = np.histogram(known, edges)[0] / max(len(known), 1) * 100
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.35)
            axes.stairs(share, edges, color=colour, linewidth=1.4, label=name)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_ylabel("%")
        _plain(axes)
    for axes in list(grid.flat)[len(pairs) :]:
        axes.set_visible(False)
    _legend(figure, grid.flat[0])
    return figure


def shares(before: Texts, now: Texts) -> "Figure":
    """How many percent of held-out clips and of answers have each value, the commonest first."""
    first, second, names = counted(before, now)
    first, second = 100 * first / max(first.sum(), 1), 100 * second / max(second.sum(), 1)
    order = np.argsort(-np.maximum(first, second), kind="stable")[:MANY]
    figure = new_figure(8, 0.42 * len(order) + 1.1)
    axes = figure.subplots()
    rows = np.arange(len(order))
    axes.barh(rows - 0.2, first[order], height=0.38, color=BLUE, label=BEFORE)
    axes.barh(rows + 0.2, second[order], height=0.38, color=OCHRE, label=NOW)
    axes.set_yticks(rows, [one_line(str(names[index]), 32) for index in order])
    axes.invert_yaxis()
    axes.set_xlabel("%")
    _plain(axes)
    _legend(figure, axes)
    return figure


def features(before: Features, now: Features) -> "Figure":
    """Features in the plane in which held-out clips differ most (principal components)."""
    centre = before.mean(axis=0)
    scale = np.maximum(before.std(axis=0), 1e-6)
    axes_of = np.linalg.svd((before - centre) / scale, full_matrices=False)[2][:2].T
    figure = new_figure(6.5, 4.2)
    axes = figure.subplots()
    for values, colour, marker, name in ((before, BLUE, "o", BEFORE), (now, OCHRE, "^", NOW)):
        points = np.clip((values - centre) / scale, -1e6, 1e6) @ axes_of
        # a model with one feature has no second component
        second = points[:, 1] if points.shape[1] > 1 else np.zeros(len(points))
        axes.scatter(points[:, 0], second, s=16, color=colour, marker=marker, alpha=0.6, label=name)
    axes.set_xlabel("first principal component")
    axes.set_ylabel("second")
    _plain(axes)
    _legend(figure, axes)
    return figure


def course(title: str, before: Floats, time: Floats, values: Floats) -> "Figure":
    """A number over time: median and middle half of answers, and of held-out clips as a band.

    Args:
        title: its name and unit.
        before: of held-out clips.
        time: of each answer, seconds since 1970, ascending.
        values: of each answer.
    """
    known = ~np.isnan(values)
    time, values = time[known], values[known]
    periods = np.array_split(np.arange(len(values)), max(1, min(_PERIODS, len(values) // _LEAST)))
    # matplotlib draws times as UTC
    moments: Any = [datetime.fromtimestamp(float(time[rows].mean()), UTC) for rows in periods]
    low, middle, high = np.array(
        [np.quantile(values[rows], [0.25, 0.5, 0.75]) for rows in periods]
    ).T
    figure = new_figure(8, 2.5)
    axes = figure.subplots()
    band = np.quantile(before[~np.isnan(before)], [0.25, 0.5, 0.75])
    axes.axhspan(band[0], band[2], color=BLUE, alpha=0.2, linewidth=0)
    axes.axhline(band[1], color=BLUE, label=BEFORE)
    axes.vlines(moments, low, high, color=OCHRE, alpha=0.7)
    axes.plot(moments, middle, "o-", color=OCHRE, markersize=4, label=NOW)
    axes.set_ylabel(title)
    axes.tick_params(axis="x", labelsize=8)
    _plain(axes)
    _legend(figure, axes)
    return figure


def overview(names: Sequence[str], ratios: Sequence[float], changed: Sequence[bool]) -> "Figure":
    """Each statistic as a multiple of what 95% of looks without any change stay below."""
    figure = new_figure(8, 0.34 * len(names) + 1.0)
    axes = figure.subplots()
    rows = range(len(names))
    colours = ["#d9534a" if each else BLUE for each in changed]
    axes.barh(rows, np.minimum(ratios, 6), height=0.65, color=colours)
    for row, ratio, each in zip(rows, ratios, changed, strict=True):
        text = f"{ratio:.1f}" + (" changed" if each else "")
        axes.text(min(ratio, 6) + 0.06, row, text, va="center", fontsize=9)
    axes.axvline(1, color=ink(), linestyle=":", linewidth=1)
    axes.set_yticks(rows, [*names])
    axes.invert_yaxis()
    axes.set_xlim(0, 7.2)
    axes.set_xlabel("statistic, as a multiple of what chance alone stays below in 95% of looks")
    _plain(axes)
    return figure


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


def _legend(figure: "Figure", axes: "Axes") -> None:
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=2, frameon=False, fontsize=9)
