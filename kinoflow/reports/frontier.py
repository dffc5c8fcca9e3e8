"""Accuracy against a cost: which models no other model beats in both, and a picture of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from kinoflow.reports.data_figures import BLUE, OCHRE
from kinoflow.reports.drawing import ink, new_figure, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox


@dataclass(frozen=True)
class Point:
    """A model in the picture."""

    name: str
    cost: float  # more than 0
    accuracy: float
    low: float  # of the interval of the accuracy
    high: float
    winner: bool = False


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other point beats: none is as cheap and more accurate, or cheaper and as
    accurate. Cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.accuracy, point.name)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def figure(points: Sequence[Point], cost: str) -> "Figure":
    """Accuracy over cost, with the Pareto front as a line.

    Args:
        points: the models; bars show the intervals of their accuracies.
        cost: what costs are measured in, as the label of their axis.
    """
    from matplotlib.ticker import NullFormatter

    drawn = new_figure(7.6, 4.6)
    axes = drawn.subplots()
    front = pareto(points)
    axes.plot(
        [point.cost for point in front],
        [point.accuracy for point in front],
        color=OCHRE,
        drawstyle="steps-post",
        label="Pareto front: nothing cheaper is as accurate",
        zorder=1,
    )
    for point in points:
        bars = [[point.accuracy - point.low], [point.high - point.accuracy]]
        axes.errorbar(
            [point.cost],
            [point.accuracy],
            yerr=np.maximum(bars, 0),
            fmt="*" if point.winner else "o",
            markersize=13 if point.winner else 6,
            markerfacecolor=BLUE,
            markeredgecolor=ink(),
            markeredgewidth=0.8,
            ecolor=BLUE,
            elinewidth=1,
            alpha=0.9,
            zorder=3 if point.winner else 2,
        )
    axes.plot([], [], "*", color=BLUE, markeredgecolor=ink(), markersize=11, label="the winner")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    costs = [point.cost for point in points]
    close = max(costs) < _CLOSE * min(costs)
    axes.xaxis.set_minor_formatter("{x:g}" if close else NullFormatter())
    axes.tick_params(axis="x", which="minor", labelsize=8)
    axes.set_xlabel(cost)
    axes.set_ylabel("accuracy on validation")
    axes.margins(x=0.12, y=0.1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(alpha=0.3)
    drawn.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    _name(axes, points)
    return drawn


# how many times the cheapest the dearest may cost if powers of ten are too few ticks
_CLOSE = 6

# where a name may stand: how far from its point, in units of 1/72 inch, and in which direction
_RADII = (8, 16, 26, 38, 52, 70, 90)
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_TIED = 20  # names farther away than this are tied to their points by a line


def _name(axes: "Axes", points: Sequence[Point]) -> None:
    """Write each point's name where it covers nothing that is drawn, as near as it gets."""
    drawn = axes.get_figure(root=True)
    assert drawn is not None
    drawn.draw_without_rendering()  # the layout gives the axes their place
    frame, taken = axes.get_window_extent(), _occupied(axes, points, drawn.dpi / 72)
    for point in sorted(points, key=lambda point: (-point.accuracy, point.cost)):
        place = (point.cost, point.accuracy)
        weight = "bold" if point.winner else "normal"
        name = one_line(point.name, 24)
        text = axes.annotate(
            name, place, (0, 0), textcoords="offset points", fontsize=8.5, fontweight=weight
        )

        def covered(offset: tuple[int, int], text: "Annotation" = text) -> float:
            _move(text, offset)
            box = text.get_window_extent()
            area = box.width * box.height
            return area - _shared(box, frame) + sum(_shared(box, other) for other in taken)

        offsets = [(across * r, up * r) for r in _RADII for across, up in _DIRECTIONS]
        best = min(offsets, key=covered)
        _move(text, best)
        taken.append(text.get_window_extent())
        if max(map(abs, best)) > _TIED:
            line = {"arrowstyle": "-", "color": ink(), "alpha": 0.45, "linewidth": 0.7}
            axes.annotate("", place, best, textcoords="offset points", arrowprops=line)


def _occupied(axes: "Axes", points: Sequence[Point], scale: float) -> "list[Bbox]":
    """Where points, bars and the front are, in pixels; `scale` is how many are 1/72 inch."""
    from matplotlib.transforms import Bbox

    corners = [((p.cost, p.accuracy), (p.cost, p.accuracy), 6) for p in points]
    corners += [((p.cost, p.low), (p.cost, p.high), 2) for p in points]
    front = pareto(points)
    for one, other in pairwise(front):
        corners.append(((one.cost, one.accuracy), (other.cost, one.accuracy), 2))
        corners.append(((other.cost, one.accuracy), (other.cost, other.accuracy), 2))
    return [
        Bbox(axes.transData.transform((start, end))).padded(margin * scale)
        for start, end, margin in corners
    ]


def _move(text: "Annotation", offset: tuple[int, int]) -> None:
    """Put a name at this offset from its point, on the far side of the offset's end."""
    across, up = np.sign(offset)
    text.set_position(offset)
    text.set_horizontalalignment(("center", "left", "right")[across])
    text.set_verticalalignment(("center", "bottom", "top")[up])


def _shared(one: "Bbox", other: "Bbox") -> float:
    """The area that two boxes share."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(0.0, width) * max(0.0, height)
