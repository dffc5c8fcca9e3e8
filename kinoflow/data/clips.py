"""The clip store: one sampled clip per video, where to find it and how to read it.

`kinoflow.data.extraction` fills the store. This module does not, so that a stage which only reads
clips does not depend on the decoder.
"""

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.data import tables
from kinoflow.system.errors import UserError
from kinoflow.video.spec import ClipSpec, Frames
from kinoflow.video.version import decoder_version
from kinoflow.workspace import Workspace

# what NumPy writes before an array (T, H, W, 3) of uint8
_HEADER = re.compile(
    rb"\x93NUMPY.{4}\{'descr': '\|u1', 'fortran_order': False, "
    rb"'shape': \((\d+), (\d+), (\d+), (3)\), \} *\n",
    re.DOTALL,
)
# what NumPy may raise for a header with flipped or missing bytes
_DAMAGED = (ValueError, TypeError, OverflowError, SyntaxError, TokenError)


class DamagedClip(UserError):
    """A file in the clip store that does not hold a whole clip."""


@dataclass(frozen=True)
class ClipStore:
    """A folder with one clip per video, each a NumPy file named after the video.

    Args:
        folder: where the clips are, such as work/clips. The table of clip records lies beside
            it under the same name, work/clips.csv.
    """

    folder: Path

    @property
    def records_path(self) -> Path:
        """The table of clip records: for each clip, the video and the spec it was made from."""
        return self.folder.with_name(f"{self.folder.name}.csv")

    def path(self, video: str) -> Path:
        """The file of a video's clip, whether it exists or not."""
        return self.folder / f"{video}.npy"

    def read(self, video: str) -> Frames:
        """A video's clip: uint8 RGB (T, H, W, 3), not writable.

        It is safe to call from several threads. `np.load` is not: it has Python parse each
        header, and up to Python 3.12 that sometimes fails while another thread parses something
        ("AST constructor recursion depth mismatch",
        https://github.com/python/cpython/issues/106905).

        Raises FileNotFoundError if there is no clip, and DamagedClip for a file that is not one.
        """
        path = self.path(video)
        content = path.read_bytes()
        header = _HEADER.match(content)
        shape = [int(size) for size in header.groups()] if header else []
        if header is None or len(content) - header.end() != math.prod(shape):
            raise _damaged(path)
        return np.frombuffer(content, np.uint8, offset=header.end()).reshape(shape)

    def memmap(self, video: str) -> NDArray:
        """A video's clip as it lies on disk; only the frames that are used are read.

        Unlike `read`, it gives an array of whatever shape and type the file holds, so that
        validation can tell what is wrong with it.

        Raises FileNotFoundError if there is no clip, and DamagedClip for a file that holds no
        array.
        """
        path = self.path(video)
        try:
            return np.lib.format.open_memmap(path, mode="r")
        except _DAMAGED:
            raise _damaged(path) from None

    def records(self) -> pd.DataFrame:
        """The table of clip records; empty if nothing was ever stored."""
        if self.records_path.exists():
            return tables.read(self.records_path, tables.CLIPS)
        return tables.empty(tables.CLIPS)

    def write_records(self, table: pd.DataFrame) -> None:
        """Write the table of clip records, whole or not at all."""
        tables.write(table, self.records_path, tables.CLIPS)


@dataclass(frozen=True)
class ClipSet:
    """The labels of some videos, and their clips, which are read from the store on demand."""

    folder: Path  # of the store
    videos: tuple[str, ...]
    labels: NDArray[np.int64]  # (N,) class indices

    def __len__(self) -> int:
        return len(self.videos)

    def read(self, rows: NDArray[np.int64]) -> Frames:
        """The clips of these rows: uint8 RGB (B, T, H, W, 3)."""
        return np.stack([self.clip(row) for row in rows])

    def clip(self, row: int) -> Frames:
        """The clip of one row, as `ClipStore.read` gives it."""
        return ClipStore(self.folder).read(self.videos[row])


@dataclass(frozen=True)
class Restyled:
    """A store with the same clips in another style, as the stage `restyle` makes it."""

    folder: Path
    network: str  # MD5 of the network that painted them

    @classmethod
    def of(cls, folder: Path, style: str) -> "Restyled":
        """The store of one style.

        Args:
            folder: with a store for each style, work/restyled.
            style: its name.

        Raises UserError if it is not there.
        """
        painted_by = folder / f"{style}.md5"
        if not painted_by.exists():
            raise UserError(f"there are no clips in the style {style}: `dvc repro restyle`")
        return cls(folder / style, painted_by.read_text(encoding="utf-8").strip())


def describe(spec: ClipSpec) -> str:
    """What a clip's pixels depend on apart from the video, as the clip records hold it.

    For example "16x64x64 pyav-18.1.0 opencv-5.0.0". Sampling and padding are named only if they
    are not the default, so that records from before these settings existed stay valid.
    """
    choices = [mode for mode in (spec.sampling, spec.padding) if mode not in ("uniform", "repeat")]
    return " ".join([f"{spec.frames}x{spec.height}x{spec.width}", *choices, decoder_version()])


def split_table(workspace: Workspace) -> pd.DataFrame:
    """`split`, `group`, `label`, `md5` and `seconds` of each video, in the split's order."""
    return _with_labels(workspace, tables.read(workspace.split, tables.SPLIT))


def fold_tables(workspace: Workspace) -> dict[int, pd.DataFrame]:
    """Each fold by its number, as `split_table` gives the split.

    Empty unless `split.method` is group_kfold.
    """
    folds = tables.read(workspace.folds, tables.FOLDS).groupby("fold")
    return {
        int(str(fold)): _with_labels(workspace, table.drop(columns="fold").reset_index(drop=True))
        for fold, table in folds
    }


def _with_labels(workspace: Workspace, split: pd.DataFrame) -> pd.DataFrame:
    catalog = tables.read(workspace.catalog, tables.CATALOG)[["video", "label", "md5", "seconds"]]
    return split.merge(catalog, on="video", validate="one_to_one")


def data_md5(workspace: Workspace, table: pd.DataFrame | None = None) -> str:
    """One MD5 over all data that training uses: clips, labels and sides of the split.

    Args:
        workspace: the work tree.
        table: what is trained on, as `split_table` gives it; the split if not given.
    """
    table = split_table(workspace) if table is None else table
    records = ClipStore(workspace.clips).records().drop(columns="md5")
    text = tables.text(table.merge(records, on="video", validate="one_to_one"), tables.TRAINED)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def load_sets(
    workspace: Workspace, sides: tuple[str, ...], table: pd.DataFrame | None = None
) -> tuple[tuple[str, ...], dict[str, ClipSet]]:
    """The labels of the whole table, in alphabetical order, and the clips of each side.

    Args:
        workspace: the work tree.
        sides: the sides to load, of `tables.SIDES`.
        table: the clips and their sides, as `split_table` gives them; the split if not given.

    Returns the labels, and for each side its clips. A clip's class index is the index of its
    label among all labels, whichever sides are loaded.
    """
    table = split_table(workspace) if table is None else table
    labels = tuple(sorted(table["label"].unique()))
    indices = table["label"].map({label: index for index, label in enumerate(labels)})
    sets = {
        side: ClipSet(
            workspace.clips,
            tuple(table.loc[table["split"] == side, "video"]),
            indices[table["split"] == side].to_numpy(np.int64),
        )
        for side in sides
    }
    return labels, sets


def _damaged(path: Path) -> DamagedClip:
    return DamagedClip(f"{path} holds no clip: delete it, and `dvc repro` makes it again")
