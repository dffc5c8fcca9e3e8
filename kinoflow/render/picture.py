"""Draw a timeline as a picture: a band of labels over time, and their probabilities below it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kinoflow.reports.drawing import new_figure, one_line, vector
from kinoflow.system import files
from kinoflow.timeline import Timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# of Okabe and Ito, which people with any colour vision tell apart
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800")
_OTHERS = "#8c8c8c"


def write(path: Path, timeline: Timeline) -> None:
    """Write the picture of a timeline, whole or not at all.

    Args:
        path: .svg, which suits light and dark pages, or .png.
        timeline: what to draw. The labels that are shown longest have colours of their own, seven
            at most; the others are grey.
    """
    if path.suffix.lower() == ".svg":
        content = vector(lambda: _figure(timeline))
        with files.replacing(path) as partial:
            partial.write_bytes(content)
        return
    with files.replacing(path) as partial:
        _figure(timeline).savefig(partial, format="png", metadata={"Software": None})


def _figure(timeline: Timeline) -> "Figure":
    shown = np.zeros(len(timeline.labels))
    np.add.at(shown, timeline.shown, np.diff(timeline.moments)[:, 0])
    order = [int(k) for k in np.argsort(-shown, kind="stable") if shown[k] > 0]
    colours = dict.fromkeys(order, _OTHERS) | dict(zip(order, _COLOURS, strict=False))
    figure = new_figure(9, 3.2)
    band, curves = figure.subplots(2, 1, sharex=True, height_ratios=(1, 4))
    for segment in timeline.segments:
        long = segment.end - segment.start
        band.barh(0, long, left=segment.start, height=1, color=colours[segment.label], linewidth=0)
    band.set(yticks=[], ylim=(-0.5, 0.5))
    centres = timeline.windows.mean(axis=1)
    for label in order[: len(_COLOURS)]:
        values = timeline.probabilities[:, label]
        # a line needs two points
        times = centres if len(centres) > 1 else timeline.moments[0]
        values = values if len(centres) > 1 else np.repeat(values, 2)
        name = one_line(timeline.labels[label], 30)
        curves.plot(times, values, color=colours[label], label=name)
    if len(order) > len(_COLOURS):
        curves.plot([], [], color=_OTHERS, label=f"{len(order) - len(_COLOURS)} others")
    curves.set(xlabel="seconds", ylabel="probability", ylim=(0, 1.02))
    curves.set_xlim(0, max(timeline.seconds, 1e-3))
    for axes in (band, curves):
        axes.spines[["top", "right"]].set_visible(False)
    band.spines[["left", "bottom"]].set_visible(False)
    band.tick_params(bottom=False)
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    return figure
