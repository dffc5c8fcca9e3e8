"""Read which side of the split each video is on, where its publisher or its owner has decided that.

There are three forms: split lists, as UCF-101 and HMDB-51 have them; the column `split` of a
labels.csv; and class folders that lie in train/, val/ and test/.
"""

from pathlib import Path

import pandas as pd

from kinoflow.data import catalog
from kinoflow.data.tables import SIDES
from kinoflow.system.errors import UserError
from kinoflow.workspace import LABELS, LISTS


def published_sides(table: pd.DataFrame, data: Path, fold: int) -> pd.Series:
    """The published side of each video, by the video's name.

    Split lists in `data` come first, then the folders that the videos lie in, then labels.csv.

    Args:
        table: the catalog.
        data: the folder of the videos.
        fold: which of several published splits, where there are lists.

    Raises UserError where nothing is published, and as the readers of each form do.
    """
    lists = data / LISTS
    if lists.exists():
        return read_lists(lists, fold, table.loc[table["readable"], "video"])
    by_folder = read_folders(table["video"], data)
    return by_folder if len(by_folder) else read_column(data / LABELS)


def read_lists(lists: Path, fold: int, videos: pd.Series) -> pd.Series:
    """The sides of the videos in the split lists of a fold, by the video's name.

    UCF-101 has trainlistNN.txt and testlistNN.txt with lines `Class/video.avi`, with or without
    a label number. HMDB-51 has <class>_test_splitN.txt with lines `video.avi 1`, where 1 is train,
    2 is test and 0 is neither.

    Args:
        lists: the folder of the lists.
        fold: the number NN or N in the names of its lists.
        videos: the names of all videos. Where UCF-101's lists name another class folder, a video
            is found by its file name.

    Raises UserError for a fold that has no lists.
    """
    by_class = sorted(lists.glob(f"*_test_split{fold}.txt"))
    if by_class:
        return _read_lists_by_class(by_class, fold)
    if others := {path.stem.rpartition("split")[2] for path in lists.glob("*_test_split*.txt")}:
        raise UserError(
            f"split.fold {fold}: the lists in {lists} are those of {', '.join(sorted(others))}"
        )
    by_name = {Path(video).name: video for video in videos}
    found = {}
    for side in ("train", "test"):
        path = lists / f"{side}list{fold:02d}.txt"
        if not path.exists():
            raise UserError(
                f"split.fold {fold} has no {path}: there are "
                + (", ".join(sorted(p.name for p in lists.glob("*.txt"))) or "no lists at all")
            )
        for line in path.read_text(encoding="utf-8").split("\n"):
            if entry := line.strip():
                name = Path(entry.split()[0]).name
                found[by_name.get(name, entry.split()[0])] = side
    return pd.Series(found, dtype="str")


def _read_lists_by_class(lists: list[Path], fold: int) -> pd.Series:
    sides = {"1": "train", "2": "test"}
    found = {}
    for path in lists:
        label = path.name.removesuffix(f"_test_split{fold}.txt")
        for line in path.read_text(encoding="utf-8").split("\n"):
            if entry := line.strip():
                video, _, side = entry.rpartition(" ")
                if side in sides:
                    found[f"{label}/{video.strip()}"] = sides[side]
    return pd.Series(found, dtype="str")


def read_column(labels: Path) -> pd.Series:
    """The side of each video by the column `split` of a labels.csv, by the video's name.

    Raises UserError if there is no such column, or it holds anything but train, val and test.
    """
    table = catalog.read_labels(labels) if labels.is_file() else pd.DataFrame()
    if "split" not in table:
        raise UserError(
            "split.method official needs published lists: set dataset.lists to their folder, "
            "give labels.csv a split column, or put the class folders into train/, val/ and "
            "test/; for UCF-50, which has no lists, use leave_one_group_out"
        )
    sides = table.set_index("video")["split"]
    unknown = sides[~sides.isin(SIDES)]
    if len(unknown):
        raise UserError(
            f"{labels}: {unknown.index[0]} has the split {unknown.iloc[0]!r}, "
            f"which is none of {', '.join(SIDES)}"
        )
    return sides


def read_folders(videos: pd.Series, data: Path) -> pd.Series:
    """The side of each video by the folder it lies in, by the video's name.

    Empty if the class folders do not lie in folders for sides, and if there is a labels.csv,
    which then says what the labels are.
    """
    if (data / LABELS).is_file():
        return pd.Series(dtype="str")
    sides = catalog.from_folders(videos, str(data)).set_index("video")["split"]
    return sides[sides != ""]
