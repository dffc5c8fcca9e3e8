"""Sample every readable video into the clip store, once: only new and changed ones are decoded."""

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kinoflow import config
from kinoflow.config import Compute
from kinoflow.data import tables
from kinoflow.data.clips import ClipStore, describe
from kinoflow.data.extraction import extract_clip
from kinoflow.system import files, locks
from kinoflow.system.cluster import spread
from kinoflow.system.errors import UserError
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import ClipSpec
from kinoflow.workspace import Workspace, run

# seconds between two writings of the clip records: the most work that a killed run repeats
_RECORD_EVERY = 5.0


@dataclass(frozen=True)
class _Task:
    """A video to decode, and where its clip goes."""

    video: str
    path: Path
    target: Path
    spec: ClipSpec


def missing_clips(table: pd.DataFrame, store: ClipStore, spec: ClipSpec) -> pd.DataFrame:
    """The readable videos of a catalog without a clip of their present content and of `spec`."""
    records = store.records()
    current = records[records["spec"] == describe(spec)]
    recorded = set(zip(current["video"], current["md5"], strict=True))
    wanted = table[table["readable"]]
    missing = [
        (video, md5) not in recorded or not store.path(video).exists()
        for video, md5 in zip(wanted["video"], wanted["md5"], strict=True)
    ]
    return wanted[missing]


def extract(
    table: pd.DataFrame, data: Path, store: ClipStore, spec: ClipSpec, compute: Compute
) -> int:
    """Bring the clip store in line with the catalog.

    Clips of videos that are gone are deleted. The clip records are written every few seconds, so
    that after a kill only the last few seconds of work are repeated.

    Args:
        table: the catalog.
        data: the folder of the videos.
        store: where the clips go.
        spec: what a clip is.
        compute: how many processes decode, and what one video may cost.

    Returns how many videos were decoded.

    Raises UserError, after all other videos are done, for a video that is readable in the catalog
    but cannot be decoded now: sampling takes more time and memory than cataloging, and the file may
    have changed since.
    """
    files.sweep(store.folder)
    records = store.records()
    wanted = table[table["readable"]]
    todo = missing_clips(table, store, spec)
    keep = records[records["video"].isin(set(wanted["video"]) - set(todo["video"]))]
    _delete_others(store, set(wanted["video"]))

    # absolute, since the workers of a cluster may run in another folder
    tasks = [
        _Task(video, (data / video).absolute(), store.path(video).absolute(), spec)
        for video in todo["video"].tolist()
    ]
    decoded: list[str] = []
    problems: list[str] = []

    def write_records() -> None:
        new = todo.set_index("video").loc[decoded, ["md5"]].reset_index()
        new["spec"] = describe(spec)
        if decoded:
            files.flush(store.folder)
        store.write_records(pd.concat([keep, new]).sort_values("video"))

    recorded = time.monotonic()
    try:
        for video, problem in spread(_decode, tasks, compute.pool, "extract", failed=_failed):
            if problem:
                problems.append(f"{video} ({problem})")
            else:
                decoded.append(video)
            if time.monotonic() - recorded > _RECORD_EVERY:
                write_records()
                recorded = time.monotonic()
    finally:
        write_records()
    if problems:
        raise UserError(
            f"{len(problems)} videos decoded when they were cataloged and do not now, the first "
            f"{problems[0]}: raise compute.timeout_s or compute.memory_mb if that is the reason, "
            "else bring the data again with `python -m stages.download`"
        )
    return len(decoded)


def _decode(task: _Task) -> tuple[str, str]:
    """Store the clip of a video; return the video and why it could not be decoded, or ""."""
    try:
        extract_clip(task.path, task.spec, task.target)
    except UnreadableVideo as problem:
        return _failed(task, str(problem))
    return task.video, ""


def _failed(task: _Task, problem: str) -> tuple[str, str]:
    return task.video, problem


def _delete_others(store: ClipStore, videos: set[str]) -> None:
    keep = {store.path(video) for video in videos}
    for path in store.folder.rglob("*.npy"):
        if path not in keep:
            path.unlink()


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    with locks.held(workspace.lock("clips"), "extracting clips"):
        table = tables.read(workspace.catalog, tables.CATALOG)
        store = ClipStore(workspace.clips)
        decoded = extract(table, workspace.data, store, params.clip, params.compute)
    total, spec = int(table["readable"].sum()), params.clip
    print(
        f"extract: {decoded} videos decoded, "
        f"{total} clips of {spec.frames} frames of {spec.height}x{spec.width}"
    )


if __name__ == "__main__":
    run(main)
