"""Find clips of different recordings that show the same: trimmed, re-encoded, mirrored copies.

Group names are what somebody wrote down; pictures are the evidence. Perceptual hashes find the
pairs that could be copies, fast and with many false alarms; the colours of the frames decide.
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow import config
from kinoflow.config import Duplicates
from kinoflow.data import catalog, clips, tables
from kinoflow.system.terminal import progress
from kinoflow.video.sampling import unpadded
from kinoflow.video.spec import Frames
from kinoflow.workspace import Workspace, run

_FLAT = 4.0  # grey levels of contrast below which a frame shows nothing to compare
_FRAMES = 16  # of a clip, at most
_BITS = 63  # 8 x 8 frequencies without the mean
_THUMBNAIL = 32  # pixels
_BLOCK = 1024  # videos compared with one at a time, so that the numbers stay in the cache


class Look(NamedTuple):
    """What is compared of each clip; the frames of short ones are filled up by repetition."""

    plain: NDArray[np.uint64]  # (N, T) perceptual hashes
    mirrored: NDArray[np.uint64]  # (N, T) of the same frames swapped left and right
    thumbnails: NDArray[np.uint8]  # (N, T / 2, 32, 32, 3), blurred


def find(table: pd.DataFrame, store: Path, params: Duplicates) -> pd.DataFrame:
    """Pairs of near-duplicates among the readable videos of a catalog, of different groups.

    Two videos may be copies if the median frame of one is within `params.distance` bits of its
    nearest frame in the other, and are taken for that if, likewise, the correlation of their
    thumbnails is at least `params.similarity`. Of the two directions the better counts, so that
    a part of a video is found in the whole.

    Time grows with the square of the number of videos: about a minute for ten thousand.
    """
    rows = table[table["readable"]]
    seen = [look(np.load(clips.clip_path(store, video))) for video in rows["video"]]
    usable = [one is not None for one in seen]
    videos, groups = rows.loc[usable, "video"].to_numpy(), rows.loc[usable, "group"].to_numpy()
    looks = [one for one in seen if one is not None]
    if not looks:
        return tables.empty(tables.DUPLICATES)
    everything = Look(*(np.stack(part) for part in zip(*looks, strict=True)))
    # one after the other in memory are the clips, over which what follows is fastest
    plain, mirror = (np.ascontiguousarray(hashes.T) for hashes in everything[:2])

    pairs = []
    for first in progress(range(len(videos) - 1), "duplicates"):
        for mirrored in (False, True):
            hashes = mirror if mirrored else plain
            near = first + 1 + _near(plain[:, first], hashes[:, first + 1 :], params.distance)
            for other in near[groups[near] != groups[first]]:
                thumbnails = everything.thumbnails[other]
                similarity = _similarity(
                    everything.thumbnails[first],
                    thumbnails[:, :, ::-1] if mirrored else thumbnails,
                )
                if similarity >= params.similarity:
                    who = (videos[first], groups[first], videos[other], groups[other])
                    pairs.append((*who, round(similarity, 3), mirrored))
    found = pd.DataFrame(pairs, columns=list(tables.DUPLICATES.columns))
    best = found.sort_values("similarity", ascending=False, kind="stable")
    return best.drop_duplicates(["video", "other"]).sort_values(["video", "other"])


def look(clip: Frames) -> Look | None:
    """What is compared of a clip (T, H, W, 3), without the first axis; None if it is blank.

    A frame's hash is the signs of its 8 x 8 lowest spatial frequencies against their median,
    which other sizes, codecs and brightness leave much as they are (pHash: Zauner, 2010).
    """
    clip = unpadded(clip)
    chosen = np.unique(np.linspace(0, len(clip) - 1, _FRAMES).round().astype(int))
    frames = [frame for frame in clip[chosen] if frame.std(axis=(0, 1)).max() >= _FLAT]
    if not frames:
        return None
    low = np.stack([cv2.dct(_shrunk(_grey(frame), 32))[:8, :8] for frame in frames])
    # mirroring a picture turns the sign of its odd horizontal frequencies
    odd = np.where(np.arange(8) % 2, -1, 1)
    kept = np.minimum(np.arange(_FRAMES), len(frames) - 1)
    # blurred, so that a shift by a pixel counts little
    thumbnails = [cv2.GaussianBlur(_shrunk(frames[k], _THUMBNAIL), (0, 0), 1) for k in kept[::2]]
    return Look(_hash(low)[kept], _hash(low * odd)[kept], np.stack(thumbnails).astype(np.uint8))


def _grey(frame: Frames) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.float32)


def _shrunk(picture: NDArray, side: int) -> NDArray:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA))


def _hash(frequencies: NDArray) -> NDArray[np.uint64]:
    """(T, 8, 8) -> (T,)"""
    flat = frequencies.reshape(len(frequencies), -1)[:, 1:]
    bits = flat > np.median(flat, axis=1, keepdims=True)
    return np.asarray((bits * (np.uint64(1) << np.arange(_BITS, dtype=np.uint64))).sum(axis=1))


def _near(one: NDArray[np.uint64], others: NDArray[np.uint64], most: int) -> NDArray[np.int64]:
    """Which of the videos with hashes (T, N) are at most so many bits from that with (T,)."""
    found = []
    for start in range(0, others.shape[1], _BLOCK):
        block = others[:, start : start + _BLOCK]
        bits = np.bitwise_count(one[:, None, None] ^ block)
        there, back = bits.min(axis=1), bits.min(axis=0)
        # a median takes long, and is above what fewer than half of its numbers keep to
        half = np.maximum((there <= most).sum(axis=0), (back <= most).sum(axis=0)) >= len(one) // 2
        medians = (np.median(bits[:, half], axis=0) for bits in (there, back))
        found.append(start + np.flatnonzero(half)[np.minimum(*medians) <= most])
    return np.concatenate(found)


def _similarity(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """The correlation of the thumbnails (T, h, w, 3) of two videos."""
    correlations = _standard(one) @ _standard(other).T
    return float(max(np.median(correlations.max(axis=1)), np.median(correlations.max(axis=0))))


def _standard(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(T, h, w, 3) -> (T, h * w * 3) of mean 0 and length 1."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    found = find(catalog.read(workspace.catalog), workspace.clips, params.duplicates)
    tables.write(found, workspace.duplicates, tables.DUPLICATES)
    print(f"duplicates: {len(found)} pairs of videos of different groups show the same")


if __name__ == "__main__":
    run(main)
