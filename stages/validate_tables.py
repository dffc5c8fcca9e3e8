"""The tables that expectations are checked on: catalog, split and clip records, with more columns.

A column is added for each question that Great Expectations cannot ask of the tables as they are,
such as on how many sides of the split a group is.
"""

import numpy as np
import pandas as pd

from kinoflow.data.clips import ClipStore, DamagedClip
from kinoflow.video.padding import unpadded


def catalog_table(videos: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """The catalog, and how each row's class and file compare with the others.

    `videos` is the catalog with null instead of "", as Great Expectations looks for null.
    """
    table = videos.copy()
    # null for readable videos, so that a row condition can select them; for others the reason
    table["problem"] = table["problem"].fillna("unreadable").mask(table["readable"])
    sizes = table.groupby("label")["readable"].transform("sum")
    table["share_of_largest"] = sizes / sizes.max()
    used = table.loc[table["video"].isin(split["video"]), "label"]
    table["label_in_split"] = table["label"].isin(used)
    table["labels_of_file"] = table.groupby("md5")["label"].transform("nunique")
    return table


def split_table(split: pd.DataFrame, videos: pd.DataFrame) -> pd.DataFrame:
    """The split, and on how many sides the group, file and label of each row are."""
    known = videos[["video", "label", "group", "md5", "readable"]].drop_duplicates("video")
    # groups as in the catalog, not as the split has merged them
    table = split[["video", "split"]].merge(known, on="video", how="left")
    table["source"] = _source(table["readable"], "readable")
    for name, column in {"group": "group", "file": "md5", "label": "label"}.items():
        table[f"splits_of_{name}"] = table.groupby(column)["split"].transform("nunique")
    side = table.groupby(["label", "split"])
    table["videos_on_side"] = side["video"].transform("nunique")
    table["groups_on_side"] = side["group"].transform("nunique")
    return table


def folds_table(folds: pd.DataFrame, videos: pd.DataFrame) -> pd.DataFrame:
    """The folds, and in how many each row's video and group are tested on.

    Further columns say on how many sides of its fold the group, the merged group, the file and the
    label of each row are.
    """
    known = videos[["video", "label", "group", "md5", "readable"]].drop_duplicates("video")
    table = folds.rename(columns={"group": "merged"}).merge(known, on="video", how="left")
    table["source"] = _source(table["readable"], "readable")
    # 0 for a video of the folds that no fold tests on
    tested = table["fold"].where(table["split"] == "test")
    for name in ("video", "group"):
        table[f"tests_of_{name}"] = tested.groupby(table[name]).transform("nunique")
    columns = {"group": "group", "merged": "merged", "file": "md5", "label": "label"}
    for name, column in columns.items():
        table[f"splits_of_{name}"] = table.groupby(["fold", column])["split"].transform("nunique")
    side = table.groupby(["fold", "label", "split"])
    table["groups_on_side"] = side["group"].transform("nunique")
    return table


def clips_table(store: ClipStore, videos: pd.DataFrame) -> pd.DataFrame:
    """The clip records, what the clips' files hold, and whether the videos are still the same.

    A readable video without a record gets a row with `rows` 0 and nothing else, so that it fails
    one expectation and not all.
    """
    known = videos[["video", "md5", "readable"]].drop_duplicates("video")
    records = store.records()
    table = records.merge(known, on="video", how="left", suffixes=("", "_now"))
    table["rows"] = table.groupby("video")["video"].transform("size")
    table["source"] = _source(table["readable"], "unchanged")
    table.loc[table["readable"].eq(True) & (table["md5"] != table["md5_now"]), "source"] = "changed"
    stored = [_stored(store, video) for video in table["video"]]
    table = table.join(pd.DataFrame(stored, columns=["shape", "dtype", "contrast"]))
    absent = known[known["readable"] & ~known["video"].isin(records["video"])]
    return pd.concat([table, absent[["video"]].assign(rows=0)], ignore_index=True)


def _source(readable: pd.Series, good: str) -> pd.Series:
    """For each row the text `good`, or what is wrong with its video.

    `readable` is the column of the catalog, null for a video that the catalog lacks.
    """
    return readable.map({True: good, False: "unreadable"}).fillna("not in the catalog")


def _stored(store: ClipStore, video: str) -> tuple[str, str | None, float | None]:
    """The shape, type and contrast of a stored clip; "no file" or "damaged" if there is no shape.

    Contrast is the standard deviation of some of the pixels, in grey levels, in the channel
    where it is largest.
    """
    try:
        clip = store.memmap(video)
    except FileNotFoundError:
        return "no file", None, None
    except DamagedClip:
        return "damaged", None, None
    contrast = None
    if clip.ndim == 4 and clip.size and clip.dtype == np.uint8:
        pixels = unpadded(clip[:: max(1, len(clip) // 4), ::4, ::4])
        contrast = float(pixels.std(axis=(0, 1, 2)).max())
    return shape_text(clip.shape), str(clip.dtype), contrast


def shape_text(shape: tuple[int, ...]) -> str:
    """An array's shape in words: (32, 64, 64, 3) gives "32x64x64x3"."""
    return "x".join(map(str, shape))
