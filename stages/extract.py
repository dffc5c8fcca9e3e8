"""Sample every readable video once into the store of clips; only new and changed ones."""

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kinoflow import catalog, clips, files, paths
from kinoflow import params as parameters
from kinoflow.compute import spread
from kinoflow.console import UserError, run
from kinoflow.params import Compute
from kinoflow.video import ClipSpec, UnreadableVideo

# seconds between records of what is done: the most that a killed run has to do again
_RECORD_EVERY = 5.0


@dataclass(frozen=True)
class _Task:
    """Videos for one worker, by path and where their clip goes."""

    spec: ClipSpec
    videos: tuple[tuple[str, Path, Path], ...]


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
    videos_per_task: int = 8,
) -> int:
    """Bring the store in line with the catalog; return how many videos were decoded.

    `record` is the table of the store, written again and again meanwhile, so that after a kill
    only the last few seconds are repeated. Clips of videos that are gone are deleted. Raises
    UserError, after all the others are done, for a video that decoded when it was cataloged and
    does not now.
    """
    files.sweep(store)
    done = clips.read_table(record)
    wanted = table[table["readable"]]
    todo = missing(table, store, done, spec)
    keep = done[done["video"].isin(set(wanted["video"]) - set(todo["video"]))]
    _delete_others(store, {clips.clip_path(store, video) for video in wanted["video"]})

    rows = [
        (video, data / video, clips.clip_path(store, video)) for video in todo["video"].tolist()
    ]
    tasks = [
        _Task(spec, tuple(rows[start : start + videos_per_task]))
        for start in range(0, len(rows), videos_per_task)
    ]
    fresh: list[str] = []
    problems: list[str] = []

    def write() -> None:
        new = todo.set_index("video").loc[fresh, ["md5"]].reset_index()
        new["spec"] = clips.describe(spec)
        clips.write_table(pd.concat([keep, new]).sort_values("video"), record)

    what = f"extract (steps of {videos_per_task} videos)"
    recorded = time.monotonic()
    try:
        for names, problem in spread(_decode, tasks, compute, what):
            fresh += names
            problems += problem
            if time.monotonic() - recorded > _RECORD_EVERY:
                write()
                recorded = time.monotonic()
    finally:
        write()
    if problems:
        raise UserError(
            f"{len(problems)} videos no longer decode, the first {problems[0]}: "
            "run `python -m stages.catalog` again"
        )
    return len(fresh)


def _decode(task: _Task) -> tuple[list[str], list[str]]:
    """Decode and store; return the videos done, and those not done with the reason."""
    done, problems = [], []
    for name, video, target in task.videos:
        try:
            clips.decode(video, task.spec, target)
        except UnreadableVideo as problem:
            problems.append(f"{name} ({problem})")
        else:
            done.append(name)
    return done, problems


def _delete_others(store: Path, keep: set[Path]) -> None:
    for path in store.rglob("*.npy"):
        if path not in keep:
            path.unlink()


def main() -> None:
    params = parameters.load()
    table = catalog.read(paths.CATALOG)
    decoded = extract(
        table,
        paths.DATA,
        paths.CLIPS,
        paths.CLIPS_TABLE,
        params.clip,
        params.compute,
        params.extract.videos_per_task,
    )
    total = int(table["readable"].sum())
    print(f"extract: {decoded} videos decoded, {total} clips of {clips.describe(params.clip)}")


if __name__ == "__main__":
    run(main)
