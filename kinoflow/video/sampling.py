"""Which frames of a video make its clip, by their indices, and which of a clip are padding.

Each way of choosing goes over the whole video in order and takes no frame twice. Of a video with
fewer frames than are wanted, all take each frame once and then repeat the last.
"""

import numpy as np
from numpy.typing import NDArray

_EVEN = 0.2  # the share of a clip that is spread evenly, wherever it moves


def frame_indices(available: int, wanted: int) -> NDArray[np.int64]:
    """Indices (wanted,) of the frames at the centres of `wanted` equal parts of a video."""
    if available < wanted:
        return np.minimum(np.arange(wanted), available - 1)
    return (2 * np.arange(wanted) + 1) * available // (2 * wanted)


def segment_indices(available: int, wanted: int) -> NDArray[np.int64]:
    """Indices (wanted,) of one frame from a random place in each of `wanted` equal parts.

    As temporal segment networks sample (Wang et al., ECCV 2016): evenly spaced frames can fall
    in step with a motion that repeats itself, such as a push-up. What is drawn follows from the
    two numbers alone, so that a video gives the same frames in training and in serving.
    """
    if available < wanted:
        return frame_indices(available, wanted)
    edges = np.arange(wanted + 1) * available // wanted
    # the bits and not a distribution, which another version of NumPy may draw otherwise
    bits = np.random.PCG64(available).random_raw(wanted)
    return edges[:-1] + (bits % np.diff(edges).astype(np.uint64)).astype(np.int64)


def motion_indices(intensity: NDArray[np.float32], wanted: int) -> NDArray[np.int64]:
    """Indices (wanted,) of the frames at equal steps of the motion that has gone before.

    `intensity` (N,) says how much each frame differs from the one before it, in any unit. Its
    square root counts, as in MGSampler (Zhi et al., ICCV 2021), so that a violent moment does not
    outweigh all the rest. Beyond the paper, a fifth of the clip is spread evenly, so that a still
    stretch is not left out if it is long; and a video that is still all the way is sampled as by
    `frame_indices`.
    """
    available, smooth = len(intensity), np.sqrt(intensity, dtype=np.float64)
    if available < wanted or not smooth.any():
        return frame_indices(available, wanted)
    # nothing goes before the first frame: without this, what moves evenly would be sampled late
    smooth[0] = smooth[min(1, available - 1)]
    gone = np.cumsum((1 - _EVEN) * smooth / smooth.sum() + _EVEN / available)
    chosen = np.searchsorted(gone, (np.arange(wanted) + 0.5) / wanted, side="right")
    # a cut is one great difference, which may take several steps at once: they go to the frames
    # after it, or before it where the video ends
    order = np.arange(wanted)
    chosen = np.maximum.accumulate(chosen - order) + order
    return np.minimum(chosen, available - wanted + order)


def temporal_views(there: int, used: int, views: int) -> list[NDArray[np.int64]]:
    """Indices (used,) into the frames that there are of a stored clip, one array per view.

    Each view spans the whole clip; they differ by where in its equal parts a frame is taken.
    With all frames used there is one view; with too few for that it ends in the first frame
    after them, which is padding.
    """
    if there <= used:
        return [np.minimum(np.arange(used), there)]
    centres = frame_indices(there * views, used * views).reshape(used, views) // views
    return [np.ascontiguousarray(column) for column in centres.T]


def frames_there(clip: NDArray[np.uint8], *, masked: bool) -> int:
    """How many frames a stored clip (T, H, W, 3) has, without its padding if that is `masked`."""
    return len(unpadded(clip)) if masked else len(clip)


def unpadded(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A clip (T, H, W, 3) without the black frames at its end; all of it if all are black."""
    seen = np.flatnonzero(clip.any(axis=(1, 2, 3)))
    return clip[: seen[-1] + 1] if len(seen) else clip
