"""The page that the stage `explore` writes: what its template shows, in numbers and figures."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.config import Explore
from kinoflow.reports import data_figures, page
from kinoflow.reports.drawing import strip, vector
from kinoflow.video.spec import Frames

_STRIP = 84  # pixels: the height of the frames on the page
_LISTED = 50  # how many videos that are set aside the page names
_COUNTED = 8  # how many different values of a property the page counts

_CLASS_COLUMNS = {
    "class": "label",
    "videos": "videos",
    "groups": "groups",
    "set aside": "set_aside",
    "minutes": "minutes",
    "median seconds": "seconds_median",
    "motion": "motion",
    "with camera": "flow",
}


def render(
    table: pd.DataFrame,
    summary: pd.DataFrame,
    colours: Mapping[str, NDArray[np.float64]],
    frames: Mapping[str, Sequence[Sequence[Frames]]],
    settings: Explore,
) -> str:
    """The page as HTML.

    Args:
        table: the catalog.
        summary: what was measured of each class, as `stages.explore.per_class` gives it.
        colours: the RGB histogram (3, bins) of each class.
        frames: for each class, frames of some of its videos.
        settings: how much was measured.
    """
    good, bad = table[table["readable"]], table[~table["readable"]]
    unreadable = list(zip(bad["video"], bad["problem"], strict=True))
    return page.render(
        "explore.html",
        totals=_totals(good, bad),
        durations=_durations(good),
        counts=_counts(good),
        balance=_balance(summary),
        flow=_flow(summary),
        colours={
            "classes": len(colours),
            "maps": len(colours) > data_figures.MANY,
            "figure": vector(
                partial(data_figures.colours, list(colours), np.stack(list(colours.values())))
            ),
        },
        strips=[
            (label, [strip(list(shown), _STRIP) for shown in videos])
            for label, videos in frames.items()
        ],
        classes={
            "columns": list(_CLASS_COLUMNS),
            "rows": list(summary[list(_CLASS_COLUMNS.values())].itertuples(index=False)),
        },
        set_aside={"rows": unreadable[:_LISTED], "more": max(0, len(unreadable) - _LISTED)},
        settings=settings,
    )


def _totals(good: pd.DataFrame, bad: pd.DataFrame) -> list[tuple[str, str]]:
    return [
        ("videos", f"{len(good):,}"),
        ("classes", f"{good['label'].nunique():,}"),
        ("groups (recordings)", f"{good['group'].nunique():,}"),
        ("minutes", f"{good['seconds'].sum() / 60:,.1f}"),
        ("megabytes", f"{good['bytes'].sum() / 1e6:,.0f}"),
        ("set aside", f"{len(bad):,}"),
    ]


def _durations(good: pd.DataFrame) -> dict[str, Any] | None:
    """The lengths of the videos in seconds; None if no container states a frame rate."""
    seconds = good.loc[good["seconds"] > 0, "seconds"].to_numpy("float64")
    if not len(seconds):
        return None
    low, median, high = np.quantile(seconds, [0.05, 0.5, 0.95])
    return {
        "videos": len(seconds),
        "shortest": seconds.min(),
        "low": low,
        "median": median,
        "high": high,
        "longest": seconds.max(),
        "figure": vector(partial(data_figures.durations, seconds)),
    }


def _counts(good: pd.DataFrame) -> list[tuple[str, list[tuple[str, int, float]]]]:
    """How many videos have each frame rate, size and codec: the value, videos, percent."""
    properties = {
        "frames per second": good["fps"].map(lambda fps: f"{fps:g}" if fps else "not stated"),
        "width × height": good["width"].astype("str") + " × " + good["height"].astype("str"),
        "codec": good["codec"],
    }
    return [(name, _commonest(values)) for name, values in properties.items()]


def _commonest(values: pd.Series) -> list[tuple[str, int, float]]:
    counts = sorted(values.value_counts().items(), key=lambda item: (-item[1], str(item[0])))
    rows = [(str(value), count, 100 * count / len(values)) for value, count in counts[:_COUNTED]]
    if others := counts[_COUNTED:]:
        total = sum(count for _, count in others)
        rows.append((f"{len(others)} others", total, 100 * total / len(values)))
    return rows


def _balance(summary: pd.DataFrame) -> dict[str, Any]:
    labels, videos, groups = (summary[name].tolist() for name in ("label", "videos", "groups"))
    return {
        "most": max(videos),
        "least": min(videos),
        "classes": len(labels),
        "too_few": sum(count < 3 for count in groups),
        "figure": vector(partial(data_figures.balance, labels, videos, groups)),
    }


def _flow(summary: pd.DataFrame) -> dict[str, Any] | None:
    """The optical flow of the classes; None if none could be measured."""
    measured = summary.dropna(subset="motion")
    if measured.empty:
        return None
    return {
        "classes": len(measured),
        "most": measured.iloc[0].to_dict(),
        "least": measured.iloc[-1].to_dict(),
        "figure": vector(partial(data_figures.optical_flow, summary)),
    }
