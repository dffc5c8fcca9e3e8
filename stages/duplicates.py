"""Find near-duplicates: videos of different groups that show the same.

A copy is found even if it was trimmed, re-encoded or mirrored. Group names may be wrong, so this
stage compares what the clips show. Perceptual hashes find the pairs that could be copies, fast and
with many false alarms; the correlation of the pair's thumbnails decides.
"""

from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow import config
from kinoflow.config import Duplicates
from kinoflow.data import tables
from kinoflow.data.clips import ClipStore
from kinoflow.system.terminal import progress
from kinoflow.video.padding import unpadded
from kinoflow.video.spec import Frames
from kinoflow.workspace import Workspace, run

_FLAT = 4.0  # grey levels: a frame with a lower standard deviation shows nothing to compare
_FRAMES = 16  # T: how many frames of each clip are compared
_BITS = 63  # bits of a hash: 8 x 8 frequencies without the mean
_THUMBNAIL = 32  # pixels: width and height
_BLOCK = 1024  # videos that a video is compared with at a time: their hashes fit the CPU's cache


class Fingerprints(NamedTuple):
    """What is compared: T frames of each of N clips; a short clip repeats its last frame.

    `fingerprint` gives those of one clip: its arrays lack the axis N.
    """

    plain: NDArray[np.uint64]  # (N, T) perceptual hashes
    mirrored: NDArray[np.uint64]  # (N, T) of the same frames with left and right swapped
    thumbnails: NDArray[np.uint8]  # (N, T / 2, 32, 32, 3) RGB, blurred


def find(table: pd.DataFrame, store: ClipStore, params: Duplicates) -> pd.DataFrame:
    """Pairs of near-duplicates of different groups among the readable videos of a catalog.

    Each frame of a video has a distance to the nearest frame of the other video, and each
    thumbnail a correlation with the nearest thumbnail. Two videos are near-duplicates if the median
    distance is at most `params.distance` bits and the median correlation at least
    `params.similarity`. Both are taken from the first video to the second and back, and the better
    one counts, so that a part of a video is found in the whole.

    Time grows with the square of the number of videos: about a minute for ten thousand.

    Args:
        table: the catalog.
        store: the clips of its readable videos.
        params: the section `duplicates` of params.yaml.

    Returns the columns of `tables.DUPLICATES`, sorted by `video` and `other`.
    """
    rows = table[table["readable"]]
    each = [fingerprint(store.read(video)) for video in rows["video"]]
    usable = [found is not None for found in each]
    videos, groups = rows.loc[usable, "video"].to_numpy(), rows.loc[usable, "group"].to_numpy()
    known = [found for found in each if found is not None]
    if not known:
        return tables.empty(tables.DUPLICATES)
    fingerprints = Fingerprints(*(np.stack(part) for part in zip(*known, strict=True)))
    # (T, N): what follows is fastest where the videos lie one after the other in memory
    plain = np.ascontiguousarray(fingerprints.plain.T)
    mirror = np.ascontiguousarray(fingerprints.mirrored.T)

    pairs = []
    for first in progress(range(len(videos) - 1), "duplicates"):
        for mirrored in (False, True):
            hashes = mirror if mirrored else plain
            near = first + 1 + _near(plain[:, first], hashes[:, first + 1 :], params.distance)
            for other in near[groups[near] != groups[first]]:
                thumbnails = fingerprints.thumbnails[other]
                similarity = _similarity(
                    fingerprints.thumbnails[first],
                    thumbnails[:, :, ::-1] if mirrored else thumbnails,
                )
                if similarity >= params.similarity:
                    names = (videos[first], groups[first], videos[other], groups[other])
                    pairs.append((*names, round(similarity, 3), mirrored))
    found = pd.DataFrame(pairs, columns=list(tables.DUPLICATES.columns))
    best = found.sort_values("similarity", ascending=False, kind="stable")
    return best.drop_duplicates(["video", "other"]).sort_values(["video", "other"])


def fingerprint(clip: Frames) -> Fingerprints | None:
    """The fingerprints of one clip, uint8 RGB (T, H, W, 3); None for a blank one.

    The bits of a frame's hash say which of its 8 x 8 lowest spatial frequencies are above their
    median. Another size, codec or brightness changes few of them (pHash: Zauner, 2010).
    """
    clip = unpadded(clip)
    spaced = np.unique(np.linspace(0, len(clip) - 1, _FRAMES).round().astype(int))
    frames = [frame for frame in clip[spaced] if frame.std(axis=(0, 1)).max() >= _FLAT]
    if not frames:
        return None
    low = np.stack([cv2.dct(_shrunk(_grey(frame), 32))[:8, :8] for frame in frames])
    # mirroring a frame flips the sign of its odd horizontal frequencies
    odd = np.where(np.arange(8) % 2, -1, 1)
    kept = np.minimum(np.arange(_FRAMES), len(frames) - 1)
    # blurred, so that a shift by one pixel changes little
    thumbnails = [cv2.GaussianBlur(_shrunk(frames[k], _THUMBNAIL), (0, 0), 1) for k in kept[::2]]
    return Fingerprints(
        _hash(low)[kept], _hash(low * odd)[kept], np.stack(thumbnails).astype(np.uint8)
    )


def _grey(frame: Frames) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.float32)


def _shrunk(picture: NDArray, side: int) -> NDArray:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA))


def _hash(frequencies: NDArray) -> NDArray[np.uint64]:
    """One hash per frame: (T, 8, 8) -> (T,)"""
    flat = frequencies.reshape(len(frequencies), -1)[:, 1:]
    bits = flat > np.median(flat, axis=1, keepdims=True)
    return np.asarray((bits * (np.uint64(1) << np.arange(_BITS, dtype=np.uint64))).sum(axis=1))


def _near(one: NDArray[np.uint64], others: NDArray[np.uint64], most: int) -> NDArray[np.int64]:
    """Indices of the videos whose median distance from a video is at most `most` bits.

    `one` holds the hashes (T,) of that video, `others` those of N videos (T, N).
    """
    found = []
    for start in range(0, others.shape[1], _BLOCK):
        block = others[:, start : start + _BLOCK]
        bits = np.bitwise_count(one[:, None, None] ^ block)
        # from each frame of the one video to the nearest frame of the other, and back
        forth, back = bits.min(axis=1), bits.min(axis=0)
        # Medians are slow to compute, so only videos that may pass get one: a median is at most
        # `most` only if at least half of its numbers are.
        half = np.maximum((forth <= most).sum(axis=0), (back <= most).sum(axis=0)) >= len(one) // 2
        medians = (np.median(bits[:, half], axis=0) for bits in (forth, back))
        found.append(start + np.flatnonzero(half)[np.minimum(*medians) <= most])
    return np.concatenate(found)


def _similarity(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """The correlation of the thumbnails (T, h, w, 3) of two videos."""
    correlations = _standard(one) @ _standard(other).T
    return float(max(np.median(correlations.max(axis=1)), np.median(correlations.max(axis=0))))


def _standard(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Each thumbnail as a vector of mean 0 and length 1: (T, h, w, 3) -> (T, h * w * 3)."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    found = find(
        tables.read(workspace.catalog, tables.CATALOG),
        ClipStore(workspace.clips),
        params.duplicates,
    )
    tables.write(found, workspace.duplicates, tables.DUPLICATES)
    print(f"duplicates: {len(found)} pairs of videos of different groups show the same")


if __name__ == "__main__":
    run(main)
