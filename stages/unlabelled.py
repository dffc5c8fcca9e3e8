"""Sample the videos in unlabelled/, from which students learn, into a store; none, and it is empty.

Students must not see what they are judged by, labelled or not. So videos that show the same as a
clip of the validation or test side are left out.
"""

import shutil
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pandas as pd

from kinoflow import config
from kinoflow.config import Duplicates, Params
from kinoflow.data import clips, names, tables
from kinoflow.data.clips import ClipStore, describe
from kinoflow.data.extraction import extract_clip, missing_clips
from kinoflow.data.fingerprints import Shown, fingerprint
from kinoflow.system import files, locks
from kinoflow.system.cluster import spread
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import ClipSpec
from kinoflow.workspace import Workspace, run

_NAMED = 5  # how many videos that are left out are named


@dataclass(frozen=True)
class _Task:
    """A video to decode, and where its clip goes."""

    video: str
    path: Path
    target: Path
    spec: ClipSpec


def found(folder: Path) -> pd.DataFrame:
    """The videos below a folder and their MD5, hidden files left out.

    Raises UserError as `kinoflow.data.names.check_videos` does.
    """
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    videos = [
        path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)
    ]
    names.check_videos(videos, f"{folder}/")
    md5s = [files.md5(folder / video) for video in videos]
    return pd.DataFrame({"video": videos, "md5": md5s, "readable": True})


def store(table: pd.DataFrame, folder: Path, target: ClipStore, params: Params) -> dict[str, str]:
    """Bring the store in line with the videos; only new and changed ones are decoded.

    Args:
        table: the videos, as `found` gives them.
        folder: where they are.
        target: the store.
        params: all settings.

    Returns why videos could not be decoded, by name.
    """
    files.sweep(target.folder)
    target.folder.mkdir(parents=True, exist_ok=True)
    for path in [*target.folder.rglob("*.npy")]:
        if path.relative_to(target.folder).as_posix().removesuffix(".npy") not in {*table["video"]}:
            path.unlink()
    tasks = [
        # absolute, since the workers of a cluster may run in another folder
        _Task(video, (folder / video).absolute(), target.path(video).absolute(), params.clip)
        for video in missing_clips(table, target, params.clip)["video"]
    ]
    done = spread(_decode, tasks, params.compute.pool, "unlabelled", failed=_failed)
    return {video: problem for video, problem in done if problem}


def _decode(task: _Task) -> tuple[str, str]:
    try:
        extract_clip(task.path, task.spec, task.target)
    except UnreadableVideo as problem:
        return _failed(task, str(problem))
    return task.video, ""


def _failed(task: _Task, problem: str) -> tuple[str, str]:
    return task.video, problem


def copies(
    videos: list[str], target: ClipStore, judged: list[str], labelled: ClipStore, how: Duplicates
) -> list[str]:
    """Those of the unlabelled videos that show the same as a clip that models are judged by.

    Args:
        videos: the unlabelled ones.
        target: the store of their clips.
        judged: labelled videos that none of them may show.
        labelled: the store of the clips of these.
        how: from when on two clips show the same.
    """
    known = [each for video in judged if (each := fingerprint(labelled.read(video)))]
    if not known:
        return []
    shown = Shown(known)
    prints = {video: fingerprint(target.read(video)) for video in videos}
    return [
        video
        for video, each in prints.items()
        if each is not None and shown.copy_of(each, how.distance, how.similarity) is not None
    ]


def judged_by(workspace: Workspace) -> pd.DataFrame:
    """The videos that models are validated or tested on; with folds, those are all."""
    split = clips.split_table(workspace)
    folds = clips.fold_tables(workspace)
    return split if folds else split[split["split"] != "train"]


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    folder, target = workspace.unlabelled_footage, ClipStore(workspace.unlabelled)
    with locks.held(workspace.lock("unlabelled"), "extracting clips"):
        table = found(folder)
        if table.empty:
            shutil.rmtree(target.folder, ignore_errors=True)
            target.folder.mkdir(parents=True)
            target.write_records(tables.empty(tables.CLIPS))
            print("unlabelled: no videos")
            return
        broken = store(table, folder, target, params)
        for video, problem in broken.items():
            print(f"warning: {video} is set aside: {problem}", file=sys.stderr)
        judged = judged_by(workspace)
        table = table[~table["video"].isin(broken)]
        same = table["video"][table["md5"].isin(judged["md5"])].tolist()
        others = [video for video in table["video"] if video not in {*same}]
        labelled = ClipStore(workspace.clips)
        same += copies(others, target, judged["video"].tolist(), labelled, params.duplicates)
        for video in same:
            target.path(video).unlink()
        used = table[~table["video"].isin(same)][["video", "md5"]]
        target.write_records(used.assign(spec=describe(params.clip)).sort_values("video"))
    if same:
        more = f" and {len(same) - _NAMED} more" if len(same) > _NAMED else ""
        print(
            f"unlabelled: {len(same)} videos are left out, since they show what models are judged "
            f"by: {', '.join(sorted(same)[:_NAMED])}{more}"
        )
    print(f"unlabelled: {len(used)} clips")


if __name__ == "__main__":
    # by the name that its tasks are found by: those of __main__ would be pickled with their code
    run(import_module("stages.unlabelled").main)
