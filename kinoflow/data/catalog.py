"""Labels and groups of videos: from a labels.csv, class folders and file names."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import pandas as pd

from kinoflow.data import names, tables
from kinoflow.system.errors import UserError
from kinoflow.workspace import LABELS

# folder names that stand for a side of a published split
_SIDES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}

# v_PushUps_g05_c02: class, group, clip
_UCF_NAME = re.compile(r"(.+_g\d+)_c\d+")
# April_09_brush_hair_u_nm_np1_ba_goo_0: the source video and the class, then visible body parts,
# camera motion, number of people, viewpoint, quality and the clip's number
_HMDB_NAME = re.compile(r"(.+)_[fhlu]_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:bad|goo|med)_\d+")


def read_labels(path: Path | str, content: IO[bytes] | None = None) -> pd.DataFrame:
    """Read a labels.csv: `video` and `label`, and also `group` and `split` if the user gives them.

    Args:
        path: the file; if `content` is given, only its name in errors.
        content: the file's content, if the file is not on this machine.

    Raises UserError for a file that is not such a table, for a video that is listed twice or
    without a label, for labels.csv listed as a video, and for the names that `names.check`
    refuses.
    """
    table = tables.read_foreign(path, content)
    missing = {"video", "label"} - set(table.columns)
    if missing:
        hint = ": separate columns by commas" if ";" in table.columns[0] else ""
        raise UserError(
            f"{path} has no column {', '.join(sorted(missing))} in its first line{hint}"
        )
    for column in ("video", "label"):
        if (table[column] == "").any():
            row = table.index[table[column] == ""].tolist()[0] + 2
            raise UserError(f"{path}, line {row}: no {column}")
    twice = table["video"][table["video"].duplicated()]
    if len(twice):
        raise UserError(f"{path} lists {names.shown(twice.iloc[0])} twice")
    if (table["video"] == LABELS).any():
        raise UserError(f"{path} lists itself as a video: take that line out")
    names.check(table, str(path))
    return table


def from_folders(videos: Iterable[str], where: str) -> pd.DataFrame:
    """The table `video`, `label`, `split` of videos that lie in a folder per class.

    The class folders may lie in folders named after the sides of a published split, as in
    Kinetics: train/Run/1.avi has the label Run and the split train. Otherwise `split` is "". The
    top folders count as sides only if all of them are named so and hold folders, since a class
    may be called test too.

    Args:
        videos: paths with forward slashes below the folder.
        where: the folder, for errors.

    Raises UserError for a video that lies in no class folder.
    """
    parts = [(video, video.split("/")) for video in videos]
    tops = {path[0].casefold() for _, path in parts}
    sided = tops <= _SIDES.keys() and any(len(path) > 2 for _, path in parts)
    for video, path in parts:
        if len(path) < 2 + sided:
            inside = f", as in {path[0]}/" if sided and len(path) == 2 else ""
            raise UserError(
                f"{where}/{names.shown(video)} lies in no class folder: put it in one{inside}, or "
                "write a labels.csv with the columns video and label"
            )
    rows = [
        (video, path[sided], _SIDES[path[0].casefold()] if sided else "") for video, path in parts
    ]
    return pd.DataFrame(rows, columns=["video", "label", "split"], dtype="str")


def group_of(video: str) -> str:
    """The recording that a video was cut from, read off a name as in UCF-101 and HMDB-51.

    v_Class_g01_c02.avi gives v_Class_g01, and Film_class_u_nm_np1_fr_med_3.avi gives Film_class.
    A video with any other name is a group of its own, called like the video.
    """
    stem = Path(video).stem
    match = _UCF_NAME.fullmatch(stem) or _HMDB_NAME.fullmatch(stem)
    return match.group(1) if match else video
