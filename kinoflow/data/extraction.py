"""From videos to their clips in the store."""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from kinoflow.data.clips import ClipStore, describe
from kinoflow.system import files
from kinoflow.video.decoder import sample
from kinoflow.video.spec import ClipSpec


def missing_clips(table: pd.DataFrame, store: ClipStore, spec: ClipSpec) -> pd.DataFrame:
    """The readable videos of a catalog without a clip of their present content and of `spec`."""
    records = store.records()
    current = records[records["spec"] == describe(spec)]
    recorded = set(zip(current["video"], current["md5"], strict=True))
    wanted = table[table["readable"]]
    missing = [
        (video, md5) not in recorded or not store.path(video).exists()
        for video, md5 in zip(wanted["video"], wanted["md5"], strict=True)
    ]
    return wanted[missing]


def extract_clip(video: Path, spec: ClipSpec, target: Path) -> None:
    """Sample a video and write the clip to `target`, whole or not at all.

    The clip may not be on the disk yet when this returns, because waiting for each of twenty
    thousand clips would take minutes. Call `files.flush` before recording that clips are stored.

    Args:
        video: the file to read.
        spec: the size of the clip, and which frames to take.
        target: the file to write, a NumPy array uint8 RGB (T, H, W, 3).

    Raises UnreadableVideo for a file that gives no frame.
    """
    content = io.BytesIO()
    np.save(content, sample(video, spec), allow_pickle=False)
    # np.save would not report a full disk when writing to the file itself
    with files.replacing(target, durable=False) as partial:
        partial.write_bytes(content.getvalue())
