"""How pixels move from one frame of a video to the next, and which of them can be followed."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kinoflow.video.spec import Frames

# Flow makes up motion where there is nothing to follow. A place counts as still if that explains
# its surroundings about as well: worse by this much at most, in grey levels of 255.
_STILL = 1.0
_SURROUNDINGS = 8  # of a pixel: a square whose side is this part of the frame's shorter side

Pixels = NDArray[np.float32]


class Motion(NamedTuple):
    """Where the pixels of a frame were in the frame before it."""

    backward: Pixels  # (H, W, 2): x and y to add to a pixel's place to find it in the frame before
    visible: Pixels  # (H, W): 1 where the pixel was visible there, 0 elsewhere


def motion(before: Frames, after: Frames) -> Motion:
    """Estimate where the pixels of a frame were in the frame before it.

    By DIS: Kroeger et al., "Fast Optical Flow using Dense Inverse Search" (ECCV 2016). What flow
    does not explain better than no motion stands still, as a blank wall does.

    Args:
        before: uint8 RGB (H, W, 3).
        after: of the same shape.
    """
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after)]
    forward, backward = (_calm(_dis(*two), *two) for two in (grey, grey[::-1]))
    return Motion(backward, followed(forward, backward))


def followed(forward: Pixels, backward: Pixels) -> Pixels:
    """Which pixels of a frame were visible in the frame before, as far as flow can tell.

    A pixel counts if it comes back to where it was when it is followed to the frame before and from
    there forward again, and if it does not lie on the edge of something that moves.
    Ruder et al., "Artistic Style Transfer for Videos" (GCPR 2016), section 3.2, after Sundaram et
    al., "Dense Point Trajectories by GPU-accelerated Large Displacement Optical Flow" (ECCV 2010).

    Args:
        forward: from the frame before to the frame, (H, W, 2).
        backward: from the frame to the frame before, (H, W, 2).

    Returns (H, W): 1 where a pixel was visible, 0 elsewhere.
    """
    height, width = backward.shape[:2]
    there = warp(forward, backward)
    squares = _squared(there) + _squared(backward)
    returns = _squared(there + backward) <= 0.01 * squares + 0.5
    slopes = sum(
        np.square(np.gradient(backward[..., axis], axis=along))
        for axis in range(2)
        for along in range(2)
        if backward.shape[along] > 1
    )
    smooth = slopes <= 0.01 * _squared(backward) + 0.002
    x, y = _places(height, width) + np.moveaxis(backward, -1, 0)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return (returns & smooth & inside).astype(np.float32)


def warp(picture: Pixels, backward: Pixels) -> Pixels:
    """Move what a picture shows to where the next frame shows it.

    Args:
        picture: that of the frame before, (H, W, C).
        backward: from the next frame to the frame before, (H, W, 2).

    Returns (H, W, C); what comes from beyond the edge is that of the edge.
    """
    x, y = (_places(*picture.shape[:2]) + np.moveaxis(backward, -1, 0)).astype(np.float32)
    moved = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, dtype=np.float32).reshape(picture.shape)


def _dis(first: NDArray, second: NDArray) -> Pixels:
    if min(first.shape) < 16:  # DIS wants a few of its patches
        return np.zeros((*first.shape, 2), np.float32)
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(dis.calc(first, second, None), dtype=np.float32)  # type: ignore[call-overload]


def _calm(moves: Pixels, first: NDArray, second: NDArray) -> Pixels:
    """Flow (H, W, 2) from one grey picture (H, W) to another, 0 where that explains as much."""
    one, other = first.astype(np.float32), second.astype(np.float32)
    side = max(3, min(one.shape) // _SURROUNDINGS)
    moved, still = (
        cv2.blur(np.abs(expected - one), (side, side))
        for expected in (warp(other[..., None], moves)[..., 0], other)
    )
    calm = np.asarray(still) <= np.asarray(moved) + _STILL
    return np.where(calm[..., None], np.float32(0), moves)


def _places(height: int, width: int) -> Pixels:
    """The place of each pixel: x and y, (2, H, W)."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)


def _squared(flow: Pixels) -> Pixels:
    return np.square(flow).sum(axis=-1)
