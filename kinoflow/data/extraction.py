"""From a video to its clip in the store."""

import io
from pathlib import Path

import numpy as np

from kinoflow.system import files
from kinoflow.video.decoder import sample
from kinoflow.video.spec import ClipSpec


def extract_clip(video: Path, spec: ClipSpec, target: Path) -> None:
    """Sample a video and write the clip to `target`, whole or not at all.

    The clip may not be on the disk yet when this returns, since to wait for each of twenty
    thousand clips would take minutes. Call `files.flush` before recording that it is stored.

    Raises UnreadableVideo for a file that gives no frame.
    """
    content = io.BytesIO()
    np.save(content, sample(video, spec), allow_pickle=False)
    # np.save to the file itself would not say that the disk is full
    with files.replacing(target, durable=False) as partial:
        partial.write_bytes(content.getvalue())
