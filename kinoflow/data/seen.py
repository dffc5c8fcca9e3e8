"""Which clips a model has seen: the list in a Bento by which later test clips are told from them.

A model that is compared with a newer one must not be scored on clips that it was trained on or
chosen by. The list names no video and no recording: it holds hashes.
"""

import hashlib
from pathlib import Path

import pandas as pd
from numpy.typing import NDArray

from kinoflow.data import tables
from kinoflow.data.tables import Schema
from kinoflow.workspace import Workspace

FILE = "seen.csv"  # in the bundle's folder in a Bento

# one row for each clip that the model was trained on or chosen by
SEEN = Schema(
    {
        "md5": "str",  # of the video's content
        "recording": "str",  # hash of the recording's name in the catalog
        "merged": "str",  # hash of the recording that the split took it for, near-duplicates merged
    }
)


def clips(workspace: Workspace) -> pd.DataFrame:
    """`video`, `split`, `md5`, `recording` and `merged` of each clip of the split, in its order."""
    columns = ["video", "label", "md5", "group"]
    catalog = tables.read(workspace.catalog, tables.CATALOG)[columns]
    table = tables.read(workspace.split, tables.SPLIT).rename(columns={"group": "merged"})
    table = table.merge(catalog, on="video", validate="one_to_one")
    return table.assign(
        recording=table.pop("group").map(_hashed), merged=table["merged"].map(_hashed)
    )


def write(workspace: Workspace, bundle: Path) -> None:
    """Write the list into a bundle's folder: the clips of the sides train and val.

    The side val is among them, since the winner was chosen by it.
    """
    table = clips(workspace)
    shown = table[table["split"] != "test"].sort_values("md5", kind="stable")
    tables.write(shown, bundle / FILE, SEEN)


def read(bundle: Path) -> pd.DataFrame | None:
    """The list in a bundle's folder; None for a Bento from before there were lists."""
    path = bundle / FILE
    return tables.read(path, SEEN) if path.exists() else None


def are_seen(table: pd.DataFrame, seen: pd.DataFrame) -> NDArray:
    """Which clips (N,) a model has seen: the same video, or one of the same recording.

    Args:
        table: the clips, as `clips` gives them.
        seen: the model's list.
    """
    recordings = {*seen["recording"], *seen["merged"]}
    return (
        table["md5"].isin(seen["md5"])
        | table["recording"].isin(recordings)
        | table["merged"].isin(recordings)
    ).to_numpy(bool)


def _hashed(recording: str) -> str:
    return hashlib.md5(recording.encode(), usedforsecurity=False).hexdigest()
