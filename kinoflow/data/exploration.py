"""Which videos the stage `explore` measures, and between which of their frames.

The catalog's pass keeps these frames for it (`kinoflow.data.scratch`).
"""

import hashlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.video.sampling import frame_indices
from kinoflow.video.spec import ClipSpec

_SIDE = 160  # pixels: the longer side of the frames between which optical flow is computed
PAIR_BYTES = 2 * 3 * _SIDE**2  # the most that a pair of frames takes


def draw_videos(table: pd.DataFrame, per_class: int, seed: int) -> pd.DataFrame:
    """At most `per_class` readable videos of each class, from as many groups as possible.

    They are sorted by `label`, then in the order in which they were drawn. Which videos of a class
    are drawn does not depend on other classes, and changes little when videos are added.
    """
    table = table[table["readable"]].copy()
    table["lot"] = [_lot(seed, video) for video in table["video"]]
    table = table.sort_values("lot", kind="stable")
    table["turn"] = table.groupby(["label", "group"]).cumcount()
    table = table.sort_values(["label", "turn", "lot"], kind="stable")
    return table.groupby("label").head(per_class).drop(columns=["lot", "turn"])


def pair_starts(frames: int, pairs: int) -> list[int]:
    """The index of the first frame of each pair, in order: at most `pairs` different ones.

    Args:
        frames: how many frames the video has; one with a single frame has no pair.
        pairs: how many pairs to measure.
    """
    if frames < 2:
        return []
    return sorted({*frame_indices(frames - 1, pairs).tolist()})


def pair_indices(frames: int, pairs: int) -> NDArray[np.int64]:
    """Indices (2N,) of the frames of all pairs, one pair after the other; see `pair_starts`."""
    starts = np.array(pair_starts(frames, pairs), np.int64)
    return np.stack([starts, starts + 1], axis=1).reshape(-1)


def pair_spec(width: int, height: int) -> ClipSpec:
    """Two frames of a video of this size in pixels, scaled down with its aspect ratio."""
    scale = min(1.0, _SIDE / max(width, height))
    return ClipSpec(2, max(1, round(height * scale)), max(1, round(width * scale)))


def _lot(seed: int, video: str) -> str:
    """A pseudo-random text to sort videos by, which does not depend on other videos."""
    return hashlib.md5(f"{seed} {video}".encode(), usedforsecurity=False).hexdigest()
