"""What the data look like: lengths, sizes, balance, colours and motion, as one page."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow import config
from kinoflow.config import Compute, Explore
from kinoflow.data import catalog, clips, tables
from kinoflow.system import files
from kinoflow.system.cluster import spread
from kinoflow.system.errors import UserError
from kinoflow.video.decoder import runs
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.sampling import frame_indices, unpadded
from kinoflow.video.spec import ClipSpec, Frames
from kinoflow.workspace import Workspace, run
from stages import explore_page

_BINS = 32  # of a colour histogram
_SIDE = 160  # pixels: the longer side of the frames between which flow is computed
_SHOWN = 5  # frames of a video on the page, at most


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
    measured = spread(measure, films, compute.pool, "explore", failed=_unmeasured)
    motions = {motion.video: motion for motion in measured}
    colours = histograms(chosen, store)
    summary = per_class(table, motions.values(), colours)
    tables.write(summary, folder / "per_class.csv", tables.EXPLORED)
    frames: dict[str, list[tuple[Frames, ...]]] = {}
    for label, video in zip(chosen["label"], chosen["video"], strict=True):
        if motions[video].frames:
            frames.setdefault(label, []).append(motions[video].frames)
    files.write_text(
        folder / "index.html", explore_page.render(table, summary, colours, frames, settings)
    )
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


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    table = catalog.read(workspace.catalog)
    with files.replacing_folder(workspace.exploration) as folder:
        summary = explore(
            table,
            workspace.data,
            workspace.clips,
            folder,
            params.explore,
            params.seed,
            params.compute,
        )
    moving = summary.dropna(subset="motion")
    ranked = (
        f"; most motion: {moving['label'].iloc[0]}, least: {moving['label'].iloc[-1]}"
        if len(moving)
        else ""
    )
    print(f"explore: {workspace.exploration}/index.html shows {len(summary)} classes{ranked}")


if __name__ == "__main__":
    run(main)
