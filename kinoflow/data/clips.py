"""The store of sampled clips: one .npy per video, and the table of how each was made."""

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.data import catalog, tables
from kinoflow.system import files
from kinoflow.video.decoder import decoder_version, sample
from kinoflow.video.spec import ClipSpec, Frames
from kinoflow.workspace import Workspace

_HEADER = re.compile(
    rb"\x93NUMPY.{4}\{'descr': '\|u1', 'fortran_order': False, "
    rb"'shape': \((\d+), (\d+), (\d+), (3)\), \} *\n",
    re.DOTALL,
)


def describe(spec: ClipSpec) -> str:
    """All that a clip's pixels depend on beside the video: 16x64x64 pyav-18.1.0 opencv-5.0.0.

    Sampling and padding stand before the decoder, but only where they are not the default, so
    that a store made before there was a choice is still good.
    """
    ways = [way for way in (spec.sampling, spec.padding) if way not in ("uniform", "repeat")]
    return " ".join([f"{spec.frames}x{spec.height}x{spec.width}", *ways, decoder_version()])


def clip_path(folder: Path, video: str) -> Path:
    """Where the clip of a video is stored."""
    return folder / f"{video}.npy"


def read_table(path: Path) -> pd.DataFrame:
    """Which clips the store holds; empty where there is none yet."""
    return tables.read(path, tables.CLIPS) if path.exists() else tables.empty(tables.CLIPS)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write the table, whole or not at all."""
    tables.write(table, path, tables.CLIPS)


def decode(video: Path, spec: ClipSpec, target: Path) -> None:
    """Sample a video and store the clip, whole or not at all.

    It is on the disk for certain after `files.flush`, which is to come before the table: a wait
    for each clip would take minutes over twenty thousand.

    Raises UnreadableVideo for a file that gives no frame.
    """
    content = io.BytesIO()
    np.save(content, sample(video, spec), allow_pickle=False)
    # not np.save to the file: on a full disk its error does not say so
    with files.replacing(target, durable=False) as partial:
        partial.write_bytes(content.getvalue())


@dataclass(frozen=True)
class ClipSet:
    """The clips of some videos, in order, read on demand."""

    folder: Path
    videos: tuple[str, ...]
    labels: NDArray[np.int64]  # (N,) class indices

    def __len__(self) -> int:
        return len(self.videos)

    def read(self, rows: NDArray[np.int64]) -> Frames:
        """The clips of these rows: uint8 (B, T, H, W, 3)."""
        return np.stack([_read(clip_path(self.folder, self.videos[row])) for row in rows])


def _read(path: Path) -> Frames:
    """What `decode` stored, safe to read from several threads.

    np.load is not: it has Python parse each header, which up to 3.12 now and then fails when
    another thread has it parse something too ("AST constructor recursion depth mismatch",
    https://github.com/python/cpython/issues/106905).
    """
    content = path.read_bytes()
    header = _HEADER.match(content)
    if header is None:
        raise ValueError(f"{path} holds no clip")
    shape = [int(size) for size in header.groups()]
    return np.frombuffer(content, np.uint8, offset=header.end()).reshape(shape)


def split_table(workspace: Workspace) -> pd.DataFrame:
    """The videos in use, with their `split`, `group`, `label` and `md5`, in the split's order."""
    columns = ["video", "label", "md5"]
    return tables.read(workspace.split, tables.SPLIT).merge(
        catalog.read(workspace.catalog)[columns], on="video", validate="one_to_one"
    )


def fingerprint(workspace: Workspace) -> str:
    """One MD5 over all that training takes from the data: the clips, their labels and sides."""
    made = read_table(workspace.clips_table).drop(columns="md5")
    text = tables.text(
        split_table(workspace).merge(made, on="video", validate="one_to_one"), tables.TRAINED
    )
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def load_sets(
    workspace: Workspace, sides: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, ClipSet]]:
    """The labels, in alphabetical order, and the set of each side of the split."""
    table = split_table(workspace)
    labels = tuple(sorted(table["label"].unique()))
    numbers = table["label"].map({label: number for number, label in enumerate(labels)})
    sets = {
        side: ClipSet(
            workspace.clips,
            tuple(table.loc[table["split"] == side, "video"]),
            numbers[table["split"] == side].to_numpy(np.int64),
        )
        for side in sides
    }
    return labels, sets
