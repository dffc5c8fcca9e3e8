"""Write the catalog: a row per video in data/ with its label, its group and what its file holds.

The pass over the videos also keeps frames for `extract` and `explore` (see
`kinoflow.data.scratch`). No row depends on that.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from kinoflow import config
from kinoflow.config import Compute
from kinoflow.data import catalog, names, tables
from kinoflow.system import files
from kinoflow.system.cluster import spread
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import printable
from kinoflow.video.decoder import survey
from kinoflow.video.frames import UnreadableVideo
from kinoflow.workspace import LABELS, Workspace, run
from stages.catalog_kept import Keeping, Kept, stamp

# the columns found by decoding, which depend only on the file's content
_PROBED = ["frames", "fps", "seconds", "width", "height", "codec", "readable", "problem"]

_Row = dict[str, object]  # the columns above


@dataclass(frozen=True)
class _Task:
    """A video to decode."""

    md5: str
    path: Path
    stamp: tuple[int, int]  # of the file when its MD5 was computed
    keep: tuple[Kept, ...]


def labelled(data: Path) -> pd.DataFrame:
    """The videos below `data` with their `label` and `group`, in the order of `video`.

    Labels come from labels.csv in `data` if that exists, else from the class folders.

    Raises UserError if there is no video, if one is missing or lies in no class folder, if all are
    of one class, and as `names.check` does. Names are checked here as well as in the download,
    since `dvc pull` or a user may have put files into `data`.
    """
    labels = data / LABELS
    if labels.is_file():
        table = catalog.read_labels(labels)
        missing = [video for video in table["video"] if not (data / video).is_file()]
        if missing:
            raise UserError(
                f"{labels} lists {len(missing)} videos that {data}/ does not hold, the first "
                f"{names.shown(missing[0])}: run `python -m stages.download`"
            )
        if "group" not in table:
            table["group"] = ""
        ungrouped = table["group"] == ""
        table.loc[ungrouped, "group"] = table.loc[ungrouped, "video"].map(catalog.group_of)
    else:
        found = sorted(path.relative_to(data) for path in data.rglob("*") if path.is_file())
        videos = [
            path.as_posix()
            for path in found
            if not any(part.startswith(".") for part in path.parts)
        ]
        names.check_videos(videos, f"{data}/")
        table = catalog.from_folders(videos, str(data))
        table["group"] = table["video"].map(catalog.group_of)
    if table.empty:
        raise UserError(f"{data}/ holds no videos: run `python -m stages.download`")
    names.check(table, str(labels) if labels.is_file() else f"{data}/")
    if table["label"].nunique() == 1:
        raise UserError(
            f"all {len(table)} videos are labelled {table['label'].iloc[0]}: "
            "telling classes apart takes at least two"
        )
    return table[["video", "label", "group"]].sort_values("video", ignore_index=True)


def examine(
    table: pd.DataFrame,
    data: Path,
    before: pd.DataFrame | None,
    compute: Compute,
    keeping: Keeping | None = None,
) -> pd.DataFrame:
    """The catalog of labelled videos; only files that an earlier catalog lacks are decoded.

    Files that were unreadable are tried again, since more time, more memory or a newer decoder
    may read them.

    Args:
        table: `video`, `label` and `group` of each video.
        data: the folder of the videos.
        before: the catalog of an earlier run, if there is one.
        compute: how many processes decode, and what one video may cost.
        keeping: what to keep for later stages; None: nothing.
    """
    table = table.copy()
    stamps = {video: stamp(data / video) for video in table["video"]}
    table["bytes"] = [size for size, _ in stamps.values()]
    table["md5"] = [files.md5(data / video) for video in table["video"]]
    probed: dict[Any, Any] = {}
    if before is not None:
        readable = before[before["readable"]].drop_duplicates("md5")
        probed = readable.set_index("md5")[_PROBED].to_dict("index")
    new = table[~table["md5"].isin(probed.keys())].drop_duplicates("md5")
    plan = keeping.plan(table, new["md5"].tolist()) if keeping else {}
    tasks = [
        # absolute, since the workers of a cluster may run in another folder
        _Task(md5, (data / video).absolute(), stamps[video], plan.get(md5, ()))
        for video, md5 in zip(new["video"], new["md5"], strict=True)
    ]
    probed |= _probe(tasks, compute)
    known = pd.DataFrame([probed[md5] for md5 in table["md5"]], columns=_PROBED)
    return pd.concat([table, known], axis="columns").astype(tables.CATALOG.columns)


def check_readable(table: pd.DataFrame, max_unreadable: float) -> None:
    """Warn on stderr of each video that does not decode and is therefore set aside.

    Raises UserError if these are more than the fraction `max_unreadable` of all videos.
    """
    bad = table[~table["readable"]]
    for row in bad.itertuples():
        print(f"warning: {row.video} is set aside: {row.problem}", file=sys.stderr)
    if len(bad) > max_unreadable * len(table):
        raise UserError(
            f"{len(bad)} of {len(table)} videos do not decode, more than catalog.max_unreadable "
            f"({max_unreadable:g}) allows; the first is {bad['video'].iloc[0]}: "
            f"{bad['problem'].iloc[0]}"
        )


def _probe(tasks: Sequence[_Task], compute: Compute) -> dict[str, _Row]:
    """The columns of the catalog that decoding gives, by the MD5 of each video."""
    found = dict(spread(_examine_one, tasks, compute.pool, "catalog", failed=_exceeded))
    # a video may have exceeded its bounds only because of what was to be kept
    again = [replace(task, keep=()) for task in tasks if found[task.md5] is None]
    found |= dict(spread(_examine_one, again, compute.pool, "catalog", failed=_exceeded))
    return {md5: row for md5, row in found.items() if row is not None}


def _examine_one(task: _Task) -> tuple[str, _Row | None]:
    """The MD5 given in the task, and the columns of the catalog that decoding its file gives."""
    try:
        info, kept = survey(task.path, [each.wanted for each in task.keep])
    except UnreadableVideo as problem:
        return task.md5, _unreadable(str(problem))
    # of a file that was replaced meanwhile, the MD5 is not known
    if task.keep and stamp(task.path) == task.stamp:
        for each, frames in zip(task.keep, kept, strict=True):
            each.keep(task.md5, frames)
    return task.md5, {**vars(info), "readable": True, "problem": ""}


def _exceeded(task: _Task, problem: str) -> tuple[str, _Row | None]:
    """The row of a video that exceeds its bounds; None if it may be due to what was kept."""
    return task.md5, None if task.keep else _unreadable(problem)


def _unreadable(problem: str) -> _Row:
    empty = dict.fromkeys(("frames", "fps", "seconds", "width", "height"), pd.NA)
    return {**empty, "codec": "", "readable": False, "problem": printable(problem)}


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    before = tables.read(workspace.catalog, tables.CATALOG) if workspace.catalog.exists() else None
    keeping = Keeping.of(workspace, params)
    keeping.clear()
    table = examine(labelled(workspace.data), workspace.data, before, params.compute, keeping)
    check_readable(table, params.catalog.max_unreadable)
    tables.write(table, workspace.catalog, tables.CATALOG)
    readable = table[table["readable"]]
    print(
        f"catalog: {len(readable)} videos, {readable['label'].nunique()} classes, "
        f"{readable['group'].nunique()} groups, {readable['seconds'].sum() / 60:.1f} minutes; "
        f"{len(table) - len(readable)} set aside"
    )


if __name__ == "__main__":
    # by the name that its tasks are found by: those of __main__ would be pickled with their code
    run(import_module("stages.catalog").main)
