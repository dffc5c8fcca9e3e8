"""Sample every readable video into the clip store, once: only new and changed ones are decoded.

What the catalog's pass kept is taken from there (see `kinoflow.data.scratch`).
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pandas as pd

from kinoflow import config
from kinoflow.config import Compute
from kinoflow.data import scratch, tables
from kinoflow.data.clips import ClipStore, describe
from kinoflow.data.extraction import extract_clip, missing_clips
from kinoflow.data.scratch import Scratch
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
    md5: str
    path: Path
    target: Path
    spec: ClipSpec


def extract(
    table: pd.DataFrame,
    data: Path,
    store: ClipStore,
    spec: ClipSpec,
    compute: Compute,
    kept: Scratch | None = None,
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
        kept: the clips that the catalog's pass kept; they are moved into the store.

    Returns how many videos are new or changed.

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
        _Task(video, md5, (data / video).absolute(), store.path(video).absolute(), spec)
        for video, md5 in zip(todo["video"], todo["md5"], strict=True)
    ]
    stored: list[str] = []
    problems: list[str] = []

    def write_records() -> None:
        new = todo.set_index("video").loc[stored, ["md5"]].reset_index()
        new["spec"] = describe(spec)
        if stored:
            files.flush(store.folder)
        store.write_records(pd.concat([keep, new]).sort_values("video"))

    recorded = time.monotonic()
    try:
        for video, problem in _stored(tasks, kept, compute):
            if problem:
                problems.append(f"{video} ({problem})")
            else:
                stored.append(video)
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
    return len(stored)


def _stored(
    tasks: Sequence[_Task], kept: Scratch | None, compute: Compute
) -> Iterator[tuple[str, str]]:
    """Store the clips of all tasks; yield each video and why it could not be decoded, or ""."""
    entries = kept.entries() if kept else {}
    users = Counter(task.md5 for task in tasks)
    decode = []
    for task in tasks:
        users[task.md5] -= 1
        entry = entries.get(scratch.clip_key(task.md5, task.spec)) if entries else None
        if entry and _take(entry, task, last=not users[task.md5]):
            yield task.video, ""
        else:
            decode.append(task)
    yield from spread(_decode, decode, compute.pool, "extract", failed=_failed)


def _take(entry: Path, task: _Task, *, last: bool) -> bool:
    """Move a kept clip into the store, or copy it if other videos have the same content.

    Returns whether that was possible: the clip must be whole, and the video that of the catalog.
    """
    if scratch.whole(entry) is None or not scratch.holds(task.path, task.md5):
        return False
    try:
        with files.replacing(task.target, durable=False) as partial:
            if last:
                entry.replace(partial)
            else:
                shutil.copyfile(entry, partial)
    except OSError:
        return False
    return True


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
        kept = Scratch(workspace.scratch_clips)
        decoded = extract(table, workspace.data, store, params.clip, params.compute, kept)
        kept.clear()
    total, spec = int(table["readable"].sum()), params.clip
    print(
        f"extract: {decoded} videos decoded, "
        f"{total} clips of {spec.frames} frames of {spec.height}x{spec.width}"
    )


if __name__ == "__main__":
    # by the name that its tasks are found by: those of __main__ would be pickled with their code
    run(import_module("stages.extract").main)
