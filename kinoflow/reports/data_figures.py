"""The figures that show what the data look like."""

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.reports.drawing import ink, new_figure, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# with more classes than this, figures change to a form that stays readable
MANY = 24
_CHANNELS = ("red", "green", "blue")
# colours that are seen well on a light and on a dark page
BLUE = "#3b82c4"
RGB = ("#d9534a", "#3a9a48", "#4785dc")
OCHRE = "#e0a030"


def durations(seconds: NDArray[np.float64]) -> "Figure":
    """A histogram of the lengths of videos; the axis is logarithmic if lengths differ much."""
    figure = new_figure(8, 2.8)
    axes = figure.subplots()
    low, high = float(seconds.min()), float(seconds.max())
    bins = min(40, math.ceil(math.sqrt(len(seconds))))
    if high > 20 * np.median(seconds):
        axes.hist(seconds, bins=np.geomspace(low, high * 1.001, bins + 1).tolist(), color=BLUE)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        axes.hist(seconds, bins=bins, color=BLUE)
    axes.set_xlabel("seconds")
    axes.set_ylabel("videos")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", alpha=0.3)
    return figure


def balance(labels: list[str], videos: list[int], groups: list[int]) -> "Figure":
    """How many videos (bars) and groups (dots) each class has, the largest class first."""
    order = sorted(range(len(labels)), key=lambda index: (-videos[index], labels[index]))
    figure, axes, rows = _rows([labels[index] for index in order])
    axes.barh(rows, [videos[index] for index in order], height=0.7, color=BLUE, label="videos")
    dots = [groups[index] for index in order]
    axes.plot(dots, rows, "o", color=ink(), markersize=4, label="groups (recordings)")
    axes.set_xlabel("videos and groups")
    _legend_above(figure, axes)
    return figure


def optical_flow(table: pd.DataFrame) -> "Figure":
    """The mean length of the optical flow in each class.

    Args:
        table: has the columns `label`, `motion_low`, `motion`, `motion_high` and `flow`, as in
            `tables.EXPLORED`: the quartiles without the camera's share, and the median with it.
            Classes that were not measured are left out; the others are drawn in the table's
            order.
    """
    table = table.dropna(subset="motion")
    figure, axes, rows = _rows(table["label"].tolist())
    median = table["motion"].to_numpy()
    spread = [median - table["motion_low"], table["motion_high"] - median]
    axes.barh(rows, median, height=0.7, color=BLUE, label="without the camera's motion (median)")
    axes.errorbar(median, rows, xerr=spread, fmt="none", ecolor=ink(), elinewidth=1)
    axes.plot(table["flow"], rows, "D", markersize=5, mfc=OCHRE, mec=ink(), label="with it")
    axes.set_xlabel("% of the frame's width per second")
    _legend_above(figure, axes)
    return figure


def colours(labels: list[str], histograms: NDArray[np.float64]) -> "Figure":
    """The RGB histograms of each class: as curves, or as rows of a map for many classes.

    `histograms` (classes, 3, bins) holds the share of the pixels in each bin.
    """
    if len(labels) > MANY:
        return _colour_maps(labels, histograms)
    columns = min(4, len(labels))
    lines = -(-len(labels) // columns)
    figure = new_figure(8, 1.5 * lines + 0.7)
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    values = (np.arange(histograms.shape[2]) + 0.5) * 256 / histograms.shape[2]
    for axes in grid.flat[len(labels) :]:
        axes.set_visible(False)
    for axes, label, channels in zip(grid.flat, labels, histograms, strict=False):
        for colour, name, shares in zip(RGB, _CHANNELS, channels, strict=True):
            axes.plot(values, shares * 100, color=colour, label=name, linewidth=1.2)
        axes.set_title(one_line(label, 24), fontsize=9)
        axes.set_xlim(0, 256)
        axes.set_xticks([0, 128, 255])
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    grid.flat[0].set_ylim(0, histograms.max() * 105)
    figure.supxlabel("value of the channel", fontsize=9)
    figure.supylabel("% of the pixels", fontsize=9)
    _legend_above(figure, grid.flat[0])
    return figure


def _colour_maps(labels: list[str], histograms: NDArray[np.float64]) -> "Figure":
    brightness = (histograms * np.arange(histograms.shape[2])).sum(axis=(1, 2))
    order = np.argsort(-brightness, kind="stable")
    figure, first, _ = _rows([labels[index] for index in order], panels=3)
    top = np.quantile(histograms, 0.98)  # one large bin, as of a black border, would pale the rest
    for number, name in enumerate(_CHANNELS):
        axes = figure.axes[number]
        axes.imshow(
            histograms[order, number],
            cmap=f"{name.capitalize()}s",
            vmin=0,
            vmax=top,
            aspect="auto",
            extent=(0, 256, len(labels) - 0.5, -0.5),
        )
        axes.set_title(name, fontsize=9)
        axes.set_xticks([0, 128, 255])
        axes.set_xlabel("value of the channel")
        axes.grid(visible=False)
    first.set_ylim(len(labels) - 0.5, -0.5)
    return figure


def _rows(labels: list[str], panels: int = 1) -> tuple["Figure", "Axes", NDArray[np.int64]]:
    """A figure with a row per label: the figure, its first axes, and the y position of each row."""
    figure = new_figure(8, (0.28 if len(labels) <= MANY else 0.19) * len(labels) + 1.1)
    grid = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    rows = np.arange(len(labels))
    size = 9 if len(labels) <= MANY else 7.5
    grid[0].set_yticks(rows, [one_line(label, 32) for label in labels], fontsize=size)
    for axes in grid:
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        axes.grid(axis="x", alpha=0.3)
        if len(labels) > MANY:
            axes.tick_params(axis="x", top=True, labeltop=True)
    return figure, grid[0], rows


def _legend_above(figure: "Figure", axes: "Axes") -> None:
    from matplotlib.container import Container

    handles, names = axes.get_legend_handles_labels()
    # bars come first; matplotlib would put them last
    order = sorted(range(len(names)), key=lambda index: not isinstance(handles[index], Container))
    figure.legend(
        [handles[index] for index in order],
        [names[index] for index in order],
        loc="outside upper left",
        ncols=len(names),
        frameon=False,
        fontsize=9,
    )
