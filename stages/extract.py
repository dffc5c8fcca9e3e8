"""Sample every readable video once into the store of clips; only new and changed ones."""

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kinoflow import config
from kinoflow.config import Compute
from kinoflow.data import catalog, clips
from kinoflow.system import files, locks
from kinoflow.system.cluster import spread
from kinoflow.system.errors import UserError
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import ClipSpec
from kinoflow.workspace import Workspace, run

# seconds between records of what is done: the most that a killed run has to do again
_RECORD_EVERY = 5.0


@dataclass(frozen=True)
class _Task:
    """A video to decode, and where its clip goes."""

    video: str
    path: Path
    target: Path
    spec: ClipSpec


def missing(table: pd.DataFrame, store: Path, done: pd.DataFrame, spec: ClipSpec) -> pd.DataFrame:
    """The readable videos of a catalog whose clip is not there, or not of this file and spec."""
    current = done[done["spec"] == clips.describe(spec)]
    made = set(zip(current["video"], current["md5"], strict=True))
    wanted = table[table["readable"]]
    stale = [
        (video, md5) not in made or not clips.clip_path(store, video).exists()
        for video, md5 in zip(wanted["video"], wanted["md5"], strict=True)
    ]
    return wanted[stale]


def extract(
    table: pd.DataFrame,
    data: Path,
    store: Path,
    record: Path,
    spec: ClipSpec,
    compute: Compute,
) -> int:
    """Bring the store in line with the catalog; return how many videos were decoded.

    `record` is the table of the store, written again and again meanwhile, so that after a kill
    only the last few seconds are repeated. Clips of videos that are gone are deleted. Raises
    UserError, after all the others are done, for a video that decoded when it was cataloged and
    does not now: sampling may decode twice, and its file may have changed.
    """
    files.sweep(store)
    done = clips.read_table(record)
    wanted = table[table["readable"]]
    todo = missing(table, store, done, spec)
    keep = done[done["video"].isin(set(wanted["video"]) - set(todo["video"]))]
    _delete_others(store, {clips.clip_path(store, video) for video in wanted["video"]})

    # absolute, since the workers of a cluster may run in another folder
    tasks = [
        _Task(video, (data / video).absolute(), clips.clip_path(store, video).absolute(), spec)
        for video in todo["video"].tolist()
    ]
    fresh: list[str] = []
    problems: list[str] = []

    def write() -> None:
        new = todo.set_index("video").loc[fresh, ["md5"]].reset_index()
        new["spec"] = clips.describe(spec)
        if fresh:
            files.flush(store)
        clips.write_table(pd.concat([keep, new]).sort_values("video"), record)

    recorded = time.monotonic()
    try:
        for video, problem in spread(_decode, tasks, compute.pool, "extract", failed=_failed):
            if problem:
                problems.append(f"{video} ({problem})")
            else:
                fresh.append(video)
            if time.monotonic() - recorded > _RECORD_EVERY:
                write()
                recorded = time.monotonic()
    finally:
        write()
    if problems:
        raise UserError(
            f"{len(problems)} videos decoded when they were cataloged and do not now, the first "
            f"{problems[0]}: raise compute.timeout_s or compute.memory_mb if that is the reason, "
            "else bring the data again with `python -m stages.download`"
        )
    return len(fresh)


def _decode(task: _Task) -> tuple[str, str]:
    """Decode and store; return the video and what is wrong with it, if anything is."""
    try:
        clips.decode(task.path, task.spec, task.target)
    except UnreadableVideo as problem:
        return _failed(task, str(problem))
    return task.video, ""


def _failed(task: _Task, problem: str) -> tuple[str, str]:
    return task.video, problem


def _delete_others(store: Path, keep: set[Path]) -> None:
    for path in store.rglob("*.npy"):
        if path not in keep:
            path.unlink()


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    with locks.held(workspace.lock("clips"), "extracting clips"):
        table = catalog.read(workspace.catalog)
        decoded = extract(
            table,
            workspace.data,
            workspace.clips,
            workspace.clips_table,
            params.clip,
            params.compute,
        )
    total, spec = int(table["readable"].sum()), params.clip
    print(
        f"extract: {decoded} videos decoded, "
        f"{total} clips of {spec.frames} frames of {spec.height}x{spec.width}"
    )


if __name__ == "__main__":
    run(main)
