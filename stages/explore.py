"""Show what the data look like: lengths, sizes, balance, colours and optical flow, as one page."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow import config
from kinoflow.config import Compute, Explore
from kinoflow.data import scratch, tables
from kinoflow.data.clips import ClipStore
from kinoflow.data.exploration import draw_videos, pair_spec
from kinoflow.data.scratch import Scratch
from kinoflow.system import files
from kinoflow.system.cluster import spread
from kinoflow.system.errors import UserError
from kinoflow.video.padding import unpadded
from kinoflow.video.spec import Frames
from kinoflow.workspace import Workspace, run
from stages import explore_page
from stages.explore_flow import Kept, Video, VideoFlow, measure, unmeasured

_BINS = 32  # of a colour histogram
_MANY = 24  # with more classes than this, the page shows one video of each instead of two


def histograms(drawn: pd.DataFrame, store: ClipStore) -> dict[str, NDArray[np.float64]]:
    """The RGB histogram (3, bins) of each class, by label; the shares of a channel add up to 1."""
    found = {}
    for label, videos in drawn.groupby("label")["video"]:
        counts = np.zeros((3, _BINS))
        for video in videos:
            levels = unpadded(store.read(video)).reshape(-1, 3) // (256 // _BINS)
            counts += [np.bincount(levels[:, channel], minlength=_BINS) for channel in range(3)]
        found[str(label)] = counts / counts.sum(axis=1, keepdims=True)
    return found


def per_class(
    table: pd.DataFrame, flows: Iterable[VideoFlow], colours: dict[str, NDArray[np.float64]]
) -> pd.DataFrame:
    """One row per class as in `tables.EXPLORED`, classes with the most motion first.

    Args:
        table: the catalog.
        flows: the optical flow of the videos that were drawn.
        colours: the RGB histogram (3, bins) of each class.
    """
    measured = pd.DataFrame(
        [(flow.video, flow.total, flow.residual) for flow in flows],
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
    store: ClipStore,
    folder: Path,
    *,
    settings: Explore,
    seed: int,
    compute: Compute,
    kept: Scratch | None = None,
) -> pd.DataFrame:
    """Measure the data, and write index.html and per_class.csv to a folder.

    Args:
        table: the catalog.
        data: the folder of its videos.
        store: the clips of its readable videos.
        folder: where to write.
        settings: the section `explore` of params.yaml: how much to measure.
        seed: decides which videos are drawn.
        compute: how many processes decode, and what one video may cost.
        kept: the pairs of frames that the catalog's pass kept.

    Returns the table that per_class.csv holds.

    Raises UserError if there is no readable video.
    """
    drawn = draw_videos(table, settings.videos_per_class, seed)
    if drawn.empty:
        raise UserError("no video can be read, so there is nothing to explore")
    videos = _videos(drawn, data, settings.pairs_per_video, kept)
    measured = spread(measure, videos, compute.pool, "explore", failed=unmeasured)
    flows = {flow.video: flow for flow in measured}
    colours = histograms(drawn, store)
    summary = per_class(table, flows.values(), colours)
    tables.write(summary, folder / "per_class.csv", tables.EXPLORED)
    frames: dict[str, list[tuple[Frames, ...]]] = {}
    for label, video in zip(drawn["label"], drawn["video"], strict=True):
        if flows[video].frames:
            frames.setdefault(label, []).append(flows[video].frames)
    page = explore_page.render(table, summary, colours, frames, settings)
    files.write_text(folder / "index.html", page)
    return summary


def _videos(drawn: pd.DataFrame, data: Path, pairs: int, kept: Scratch | None) -> list[Video]:
    per_class = 1 if drawn["label"].nunique() > _MANY else 2
    moving = drawn[drawn["frames"] > 1]
    shown = set(moving.groupby("label").head(per_class)["video"])
    entries = kept.entries() if kept else {}
    videos = []
    columns = ["video", "md5", "frames", "fps", "width", "height"]
    for video, md5, frames, fps, width, height in drawn[columns].to_numpy(object).tolist():
        # absolute, since the workers of a cluster may run in another folder
        path = (data / video).absolute()
        entry = entries.get(scratch.pairs_key(md5, pairs)) if entries else None
        pair = pair_spec(width, height)
        kept_pairs = Kept(md5, entry.absolute()) if entry else None
        videos.append(Video(video, path, frames, fps, pair, pairs, video in shown, kept_pairs))
    return videos


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    table = tables.read(workspace.catalog, tables.CATALOG)
    kept = Scratch(workspace.scratch_pairs)
    with files.replacing_folder(workspace.exploration) as folder:
        summary = explore(
            table,
            workspace.data,
            ClipStore(workspace.clips),
            folder,
            settings=params.explore,
            seed=params.seed,
            compute=params.compute,
            kept=kept,
        )
    kept.clear()
    moving = summary.dropna(subset="motion")
    ranked = (
        f"; most motion: {moving['label'].iloc[0]}, least: {moving['label'].iloc[-1]}"
        if len(moving)
        else ""
    )
    print(f"explore: {workspace.exploration}/index.html shows {len(summary)} classes{ranked}")


if __name__ == "__main__":
    run(main)
