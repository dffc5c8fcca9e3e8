"""What the data look like: lengths, sizes, balance, colours and motion, as one page."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow import catalog, clips, figures, files, page, paths
from kinoflow import params as parameters
from kinoflow.compute import spread
from kinoflow.console import UserError, run
from kinoflow.params import Compute, Explore
from kinoflow.sampling import unpadded
from kinoflow.video import ClipSpec, Frames, UnreadableVideo, frame_indices, runs

_BINS = 32  # of a colour histogram
_SIDE = 160  # pixels: the longer side of the frames between which flow is computed
_STRIP = 84  # pixels: the height of the frames on the page
_SHOWN = 5  # frames of a video on the page, at most
_LISTED = 50  # videos set aside that the page names


@dataclass(frozen=True)
class Film:
    """A video whose motion is to be measured, with what the catalog knows of it."""

    video: str
    path: Path
    frames: int
    fps: float
    spec: ClipSpec  # a pair of frames, small, of the video's own shape
    pairs: int
    shown: bool  # whether its frames are wanted for the page


@dataclass(frozen=True)
class Motion:
    """Mean optical-flow magnitude of a video, in percent of the frame's width per second.

    `flow` holds all of it, `motion` what is left when the median flow of each pair of frames,
    which is mostly the camera's, is taken away. Both are NaN where there is no second frame, no
    frame rate, or the video no longer decodes.
    """

    video: str
    flow: float
    motion: float
    frames: tuple[Frames, ...]


def choose(table: pd.DataFrame, per_class: int, seed: int) -> pd.DataFrame:
    """At most `per_class` readable videos of each class, of as many groups as possible.

    In the order of `label`, and for each the order of choice. What is chosen of a class does not
    depend on other classes, and changes little when videos are added.
    """
    table = table[table["readable"]].copy()
    table["lot"] = [_lot(seed, video) for video in table["video"]]
    table = table.sort_values("lot", kind="stable")
    table["turn"] = table.groupby(["label", "group"]).cumcount()
    table = table.sort_values(["label", "turn", "lot"], kind="stable")
    return table.groupby("label").head(per_class).drop(columns=["lot", "turn"])


def measure(film: Film) -> Motion:
    """Optical flow (Farneback, 2003) between consecutive frames at a few places of a video."""
    cv2.setNumThreads(1)  # there is a process for every core already
    starts = {*frame_indices(film.frames - 1, film.pairs).tolist()} if film.frames > 1 else set()
    sizes, frames = [], []
    try:
        for pair in runs(film.path, starts, film.spec):
            sizes.append(_flow(pair))
            frames.append(pair[0])
    except UnreadableVideo:
        pass  # what came before is all there is to measure
    unit = 100 * film.fps / film.spec.width
    flow, motion = np.mean(sizes, axis=0) * unit if sizes and film.fps else (np.nan, np.nan)
    shown: list[Frames] = []
    if film.shown and frames:
        shown = [frames[index] for index in frame_indices(len(frames), min(_SHOWN, len(frames)))]
    return Motion(film.video, float(flow), float(motion), tuple(shown))


def _unmeasured(film: Film, problem: str) -> Motion:
    return Motion(film.video, np.nan, np.nan, ())


def histograms(chosen: pd.DataFrame, store: Path) -> dict[str, NDArray[np.float64]]:
    """The share of the pixels in each bin of each channel, (3, bins), for every class."""
    found = {}
    for label, videos in chosen.groupby("label")["video"]:
        counts = np.zeros((3, _BINS))
        for video in videos:
            clip = unpadded(np.load(clips.clip_path(store, video)))
            levels = clip.reshape(-1, 3) // (256 // _BINS)
            counts += [np.bincount(levels[:, channel], minlength=_BINS) for channel in range(3)]
        found[str(label)] = counts / counts.sum(axis=1, keepdims=True)
    return found


def per_class(
    table: pd.DataFrame, motions: Iterable[Motion], colours: dict[str, NDArray[np.float64]]
) -> pd.DataFrame:
    """One row per class, those with the most motion first."""
    measured = pd.DataFrame(
        [(motion.video, motion.flow, motion.motion) for motion in motions],
        columns=["video", "flow", "motion"],
    )
    good = table[table["readable"]].merge(measured, on="video", how="left")
    classes = good.groupby("label")
    result = pd.DataFrame(
        {
            "videos": classes.size(),
            "groups": classes["group"].nunique(),
            "set_aside": table[~table["readable"]].groupby("label").size(),
            "minutes": classes["seconds"].sum().astype("float64") / 60,
            "seconds_median": classes["seconds"].median().astype("float64"),
            "measured": classes["motion"].count(),
            "motion": classes["motion"].median(),
            "motion_low": classes["motion"].quantile(0.25),
            "motion_high": classes["motion"].quantile(0.75),
            "flow": classes["flow"].median(),
        }
    )
    counts = ["videos", "groups", "set_aside", "measured"]
    result[counts] = result[counts].fillna(0).astype("int64")
    middle = (np.arange(_BINS) + 0.5) * 256 / _BINS
    for channel, name in enumerate(("red", "green", "blue")):
        result[name] = pd.Series(
            {label: float(shares[channel] @ middle) for label, shares in colours.items()},
            dtype="float64",
        )
    result = result.rename_axis("label").reset_index()
    return result.sort_values(
        ["motion", "label"], ascending=[False, True], ignore_index=True, na_position="last"
    )


def explore(
    table: pd.DataFrame,
    data: Path,
    store: Path,
    folder: Path,
    settings: Explore,
    seed: int,
    compute: Compute,
) -> pd.DataFrame:
    """Write index.html and per_class.csv to `folder` and return the latter.

    `table` is the catalog, `store` the clips of its readable videos. Raises UserError if there
    is no readable video.
    """
    chosen = choose(table, settings.videos_per_class, seed)
    if chosen.empty:
        raise UserError("no video can be read, so there is nothing to explore")
    films = _films(chosen, data, settings.pairs_per_video)
    measured = spread(measure, films, compute, "explore", failed=_unmeasured)
    motions = {motion.video: motion for motion in measured}
    colours = histograms(chosen, store)
    summary = per_class(table, motions.values(), colours)
    summary.to_csv(folder / "per_class.csv", index=False, lineterminator="\n", float_format="%.3f")
    frames: dict[str, list[tuple[Frames, ...]]] = {}
    for label, video in zip(chosen["label"], chosen["video"], strict=True):
        if motions[video].frames:
            frames.setdefault(label, []).append(motions[video].frames)
    files.write_text(folder / "index.html", _page(table, summary, colours, frames, settings))
    return summary


def _films(chosen: pd.DataFrame, data: Path, pairs: int) -> list[Film]:
    many = chosen["label"].nunique() > 24
    moving = chosen[chosen["frames"] > 1]
    shown = set(moving.groupby("label").head(1 if many else 2)["video"])
    films = []
    columns = ["video", "frames", "fps", "width", "height"]
    for video, frames, fps, width, height in chosen[columns].to_numpy(object).tolist():
        scale = min(1.0, _SIDE / max(width, height))
        spec = ClipSpec(2, max(1, round(height * scale)), max(1, round(width * scale)))
        path = (data / video).absolute()
        films.append(Film(video, path, frames, fps, spec, pairs, video in shown))
    return films


def _lot(seed: int, video: str) -> str:
    return hashlib.md5(f"{seed} {video}".encode(), usedforsecurity=False).hexdigest()


def _flow(pair: Frames) -> tuple[float, float]:
    """Mean magnitude in pixels between two frames, of all flow and of what the median leaves."""
    before, after = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in pair)
    empty = np.empty((*before.shape, 2), np.float32)
    flow = cv2.calcOpticalFlowFarneback(before, after, empty, 0.5, 3, 15, 3, 5, 1.2, 0)
    left = flow - np.median(flow, axis=(0, 1))
    return float(np.hypot(*flow.T).mean()), float(np.hypot(*left.T).mean())


# === the page ===


def _page(
    table: pd.DataFrame,
    summary: pd.DataFrame,
    colours: dict[str, NDArray[np.float64]],
    frames: dict[str, list[tuple[Frames, ...]]],
    settings: Explore,
) -> str:
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


def main() -> None:
    params = parameters.load()
    table = catalog.read(paths.CATALOG)
    with files.replacing_folder(paths.EXPLORATION) as folder:
        summary = explore(
            table, paths.DATA, paths.CLIPS, folder, params.explore, params.seed, params.compute
        )
    moving = summary.dropna(subset="motion")
    ranked = (
        f"; most motion: {moving['label'].iloc[0]}, least: {moving['label'].iloc[-1]}"
        if len(moving)
        else ""
    )
    print(f"explore: {paths.EXPLORATION}/index.html shows {len(summary)} classes{ranked}")


if __name__ == "__main__":
    run(main)
