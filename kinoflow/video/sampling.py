"""Which frames of a video make its clip, by their indices.

Every sampling mode covers the whole video in order and takes no frame twice. If a video has fewer
frames than are wanted, each mode takes every frame once and then repeats the last.
"""

import numpy as np
from numpy.typing import NDArray

_EVEN = 0.2  # the share of a motion-guided clip's frames that is spread evenly over time


def frame_indices(available: int, wanted: int) -> NDArray[np.int64]:
    """Indices (wanted,) of the frames at the centres of `wanted` equal parts of a video.

    This is the mode `uniform`.

    Args:
        available: how many frames the video has, at least 1.
        wanted: how many frames the clip has.
    """
    if available < wanted:
        return np.minimum(np.arange(wanted), available - 1)
    return (2 * np.arange(wanted) + 1) * available // (2 * wanted)


def segment_indices(available: int, wanted: int) -> NDArray[np.int64]:
    """Indices (wanted,) of one random frame from each of `wanted` equal parts of a video.

    This is the mode `segment`, the sampling of temporal segment networks (Wang et al., ECCV
    2016). Evenly spaced frames can fall in step with an action that repeats itself, such as a
    push-up; random ones do not. The random numbers depend only on the two arguments, so that
    training and serving take the same frames of a video.

    Args:
        available: how many frames the video has, at least 1.
        wanted: how many frames the clip has.
    """
    if available < wanted:
        return frame_indices(available, wanted)
    edges = np.arange(wanted + 1) * available // wanted
    # raw bits, because NumPy's distributions may change from version to version
    bits = np.random.PCG64(available).random_raw(wanted)
    return edges[:-1] + (bits % np.diff(edges).astype(np.uint64)).astype(np.int64)


def motion_guided_indices(differences: NDArray[np.float32], wanted: int) -> NDArray[np.int64]:
    """Indices (wanted,) of the frames at equal steps of accumulated motion.

    This is the mode `motion`, after MGSampler (Zhi et al., ICCV 2021): motion is the square root
    of the frame difference, so that one violent moment does not outweigh all the rest. Unlike in
    the paper, a fifth of the frames is spread evenly over time, so that a long still stretch is
    not left out. A video without any motion is sampled by `frame_indices`.

    Args:
        differences: (N,) how much each frame differs from the one before it, in any unit; N is
            how many frames the video has.
        wanted: how many frames the clip has.
    """
    available, motion = len(differences), np.sqrt(differences, dtype=np.float64)
    if available < wanted or not motion.any():
        return frame_indices(available, wanted)
    # no frame precedes the first one: with a motion of 0, it would shift all samples to the end
    motion[0] = motion[min(1, available - 1)]
    accumulated = np.cumsum((1 - _EVEN) * motion / motion.sum() + _EVEN / available)
    indices = np.searchsorted(accumulated, (np.arange(wanted) + 0.5) / wanted, side="right")
    # Several steps may end within one large difference, a cut. Their samples move to the frames
    # after the cut, or to those before it at the end of the video.
    order = np.arange(wanted)
    indices = np.maximum.accumulate(indices - order) + order
    return np.minimum(indices, available - wanted + order)


def temporal_views(valid: int, used: int, views: int) -> list[NDArray[np.int64]]:
    """Indices (used,) into a stored clip, one array per temporal view.

    A model that takes fewer frames than a clip holds can look at the clip several times. Each view
    spans the whole clip and takes one frame of each of `used` equal parts; views differ in which
    frame that is.

    Args:
        valid: how many frames of the clip are not padding (see `kinoflow.video.padding`).
        used: how many frames the model takes.
        views: how many views are wanted. If the model takes all valid frames or more, there is
            only one view. It ends with the clip's first frame of padding, repeated, if the model
            takes more.
    """
    if valid <= used:
        return [np.minimum(np.arange(used), valid)]
    centres = frame_indices(valid * views, used * views).reshape(used, views) // views
    return [np.ascontiguousarray(column) for column in centres.T]
