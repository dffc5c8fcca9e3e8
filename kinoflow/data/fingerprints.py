"""What clips show, in short: perceptual hashes and thumbnails, by which copies are found.

A copy is found even if it was trimmed, re-encoded or mirrored. Hashes find the clips that could be
copies, fast and with many false alarms; the correlation of thumbnails decides.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kinoflow.video.padding import unpadded
from kinoflow.video.spec import Frames

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


def near(one: NDArray[np.uint64], others: NDArray[np.uint64], most: int) -> NDArray[np.int64]:
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


def similarity(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """The correlation of the thumbnails (T, h, w, 3) of two videos."""
    correlations = _standard(one) @ _standard(other).T
    return float(max(np.median(correlations.max(axis=1)), np.median(correlations.max(axis=0))))


def _standard(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Each thumbnail as a vector of mean 0 and length 1: (T, h, w, 3) -> (T, h * w * 3)."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


class Shown:
    """What several clips show, to look other clips up in.

    Args:
        fingerprints: those of each clip.
    """

    def __init__(self, fingerprints: Sequence[Fingerprints]) -> None:
        self._each = fingerprints
        # (T, N): comparing is fastest where the clips lie one after the other in memory
        self._hashes = np.stack([each.plain for each in fingerprints], axis=1)

    def copy_of(self, other: Fingerprints, distance: int, alike: float) -> int | None:
        """The number of a clip that another clip is a copy of, mirrored or not; None if of none.

        Args:
            other: the fingerprints of that clip.
            distance: how many bits of two hashes may differ.
            alike: the correlation of thumbnails from which on clips are copies.
        """
        for mirrored in (False, True):
            hashes = other.mirrored if mirrored else other.plain
            pictures = other.thumbnails[:, :, ::-1] if mirrored else other.thumbnails
            for number in near(hashes, self._hashes, distance):
                if similarity(pictures, self._each[number].thumbnails) >= alike:
                    return int(number)
        return None
