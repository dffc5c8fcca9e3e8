"""The page that the stage `explore` writes: its texts, tables and pictures."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.config import Explore
from kinoflow.reports import figures, page
from kinoflow.video.spec import Frames

_STRIP = 84  # pixels: the height of the frames on the page
_LISTED = 50  # videos set aside that the page names


def render(
    table: pd.DataFrame,
    summary: pd.DataFrame,
    colours: dict[str, NDArray[np.float64]],
    frames: dict[str, list[tuple[Frames, ...]]],
    settings: Explore,
) -> str:
    """The page, from the catalog, what was measured of each class, and frames of some videos."""
    good, bad = table[table["readable"]], table[~table["readable"]]
    sections = [
        ("At a glance", _glance(good, bad)),
        ("Files", _files(good)),
        ("Class balance", _balance(summary)),
        ("Motion", _motion(summary, settings)),
        ("Colours", _colours(colours, settings)),
        ("Frames", _frames(frames)),
        ("Every class", _classes(summary)),
    ]
    if len(bad):
        sections.append(("Set aside", _set_aside(bad)))
    return page.document("What the data look like", page.contents(sections))


def _glance(good: pd.DataFrame, bad: pd.DataFrame) -> str:
    return page.facts(
        [
            ("videos", f"{len(good):,}"),
            ("classes", f"{good['label'].nunique():,}"),
            ("groups (recordings)", f"{good['group'].nunique():,}"),
            ("minutes", f"{good['seconds'].sum() / 60:,.1f}"),
            ("megabytes", f"{good['bytes'].sum() / 1e6:,.0f}"),
            ("set aside", f"{len(bad):,}"),
        ]
    )


def _files(good: pd.DataFrame) -> str:
    seconds = good.loc[good["seconds"] > 0, "seconds"].to_numpy("float64")
    parts = []
    if len(seconds):
        low, middle, high = np.quantile(seconds, [0.05, 0.5, 0.95])
        parts = [
            page.paragraph(
                f"Half of the videos last less than {middle:.3g} seconds, nine of ten between "
                f"{low:.3g} and {high:.3g}; the shortest {seconds.min():.3g}, the longest "
                f"{seconds.max():.3g}."
            ),
            page.picture(
                figures.png(figures.durations(seconds)),
                f"Histogram of the durations of {len(seconds)} videos in seconds",
            ),
        ]
    sizes = good["width"].astype("str") + " × " + good["height"].astype("str")
    rates = good["fps"].map(lambda fps: f"{fps:g}" if fps else "not stated")
    counted = [("frames per second", rates), ("width × height", sizes), ("codec", good["codec"])]
    return "".join(parts) + page.columns(_counts(name, values) for name, values in counted)


def _counts(name: str, values: pd.Series, most: int = 8) -> str:
    counts = sorted(values.value_counts().items(), key=lambda item: (-item[1], str(item[0])))
    rows = [(str(value), count, 100 * count / len(values)) for value, count in counts[:most]]
    others = counts[most:]
    if others:
        total = sum(count for _, count in others)
        rows.append((f"{len(others)} others", total, 100 * total / len(values)))
    return page.table([name, "videos", "%"], rows)


def _balance(summary: pd.DataFrame) -> str:
    most, least = summary["videos"].max(), summary["videos"].min()
    text = (
        f"Every class has {most} videos."
        if most == least
        else f"The largest class has {most} videos, the smallest {least}."
    )
    if (summary["groups"] < 3).any():
        few = (summary["groups"] < 3).sum()
        text += f" A split needs three groups of each class: too few have {few} of {len(summary)}."
    chart = figures.balance(
        summary["label"].tolist(), summary["videos"].tolist(), summary["groups"].tolist()
    )
    alt = f"Bars: videos and groups of each of {len(summary)} classes; the numbers are below"
    return page.paragraph(text) + page.picture(figures.png(chart), alt)


def _motion(summary: pd.DataFrame, settings: Explore) -> str:
    text = page.paragraph(
        "How fast the picture moves: the mean length of the optical flow (Farneback) between "
        f"consecutive frames, at {settings.pairs_per_video} places of each of up to "
        f"{settings.videos_per_class} videos of a class, in percent of the frame's width per "
        "second. Bars leave out the camera: the median flow of each pair of frames is taken "
        "away. Diamonds include it; where they lie far to the right, the camera pans or shakes. "
        "Lines span the middle half of the videos."
    )
    moving = summary.dropna(subset="motion")
    if moving.empty:
        return text + page.paragraph("No video has a frame rate and two frames to compare.")
    first, last = moving.iloc[0], moving.iloc[-1]
    alt = (
        f"Bars: motion of each of {len(moving)} classes from high to low; the most has "
        f"{first['label']} with {first['motion']:.1f}, the least {last['label']} with "
        f"{last['motion']:.1f}"
    )
    return text + page.picture(figures.png(figures.motion(summary)), alt)


def _colours(colours: dict[str, NDArray[np.float64]], settings: Explore) -> str:
    text = (
        "How often each value of red, green and blue occurs, over the stored clips of up to "
        f"{settings.videos_per_class} videos of a class. A class that stands out here can be told "
        "by its light or place, without any motion."
    )
    if len(colours) > 24:
        text += " The brightest classes come first; darker is more frequent."
    chart = figures.colours(list(colours), np.stack(list(colours.values())))
    alt = f"Histograms of red, green and blue for each of {len(colours)} classes"
    return page.paragraph(text) + page.picture(figures.png(chart), alt)


def _frames(frames: dict[str, list[tuple[Frames, ...]]]) -> str:
    return page.strips(
        (
            label,
            [figures.strip(list(film), _STRIP) for film in films],
            f"Frames of a video of {label}, in order of time",
        )
        for label, films in frames.items()
    )


def _classes(summary: pd.DataFrame) -> str:
    shown = {
        "class": "label",
        "videos": "videos",
        "groups": "groups",
        "set aside": "set_aside",
        "minutes": "minutes",
        "median seconds": "seconds_median",
        "motion": "motion",
        "with camera": "flow",
    }
    text = page.paragraph(
        "Those with the most motion first, in percent of the frame's width per second. The same "
        "and more is in per_class.csv beside this page."
    )
    return text + page.table(list(shown), summary[list(shown.values())].itertuples(index=False))


def _set_aside(bad: pd.DataFrame) -> str:
    rows = list(zip(bad["video"], bad["problem"], strict=True))
    more = len(rows) - _LISTED
    note = page.paragraph(f"And {more} more; all are in work/catalog.csv.") if more > 0 else ""
    return page.table(["video", "why"], rows[:_LISTED]) + note
