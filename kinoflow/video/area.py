"""Area interpolation: each pixel of a smaller frame is the mean of what it covers of a larger one.

`cv2.resize` with INTER_AREA takes as long as decoding when a clip has many frames, because it
weighs one pixel at a time. Two matrix products give the same bytes in a quarter of the time for
some sizes, 320x240 to 64x64 among them.
"""

import math
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from kinoflow.video.spec import Frames

_LARGEST = 2**22  # bytes of a frame; the products take several times as much
_MOST_PARTS = 8  # with more, the products have more to do than OpenCV


def scale(frame: Frames, width: int, height: int) -> Frames:
    """A frame, uint8 RGB (H, W, 3), scaled to another size, byte for byte as OpenCV does it.

    Args:
        frame: what to scale.
        width: of the result, in pixels.
        height: of the result, in pixels.

    Raises cv2.error for a frame that cannot be scaled.
    """
    if frame.nbytes <= _LARGEST and _rounds_alike(*frame.shape[:2], height, width):
        return _scaled(frame, width, height)
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


@cache
def _rounds_alike(height: int, width: int, to_height: int, to_width: int) -> bool:
    """Whether a mean is never so close to the middle of two integers that rounding may differ.

    A pixel's weights are multiples of 1/n, where n is the product of the two `_ratio`s. So is their
    mean. If n is odd, the mean is at least 1/(2n) away from a middle. OpenCV adds float32 numbers
    below 256, each of which is off by 2**-16 at most.
    """
    if to_height > height or to_width > width:
        return False
    rows, to_rows = _ratio(height, to_height)
    columns, to_columns = _ratio(width, to_width)
    # OpenCV is fast itself where both ratios are whole numbers
    if to_rows == to_columns == 1 or max(to_rows, to_columns) > _MOST_PARTS:
        return False
    parts, terms = rows * columns, rows / to_rows + columns / to_columns + 8
    return parts % 2 == 1 and terms * 2**-16 < 1 / (2 * parts)


def _scaled(frame: Frames, width: int, height: int) -> Frames:
    down, across = _weights(frame.shape[0], height), _weights(frame.shape[1], width)
    pixels = frame.astype(np.float32).reshape(-1, down.shape[1], frame.shape[1] * 3)
    # whole numbers below 2**24, so that float32 holds them exactly
    rows = np.matmul(down, pixels).reshape(-1, across.shape[1] * 3)
    sums = rows @ _per_channel(frame.shape[1], width)
    sums *= np.float32(1 / (down.shape[1] * across.shape[1]))
    return np.rint(sums, out=sums).astype(np.uint8).reshape(height, width, 3)


@cache
def _weights(size: int, to_size: int) -> NDArray[np.float32]:
    """(q, p): how much of each of p pixels in a line is covered by each of q pixels of the result.

    The unit is 1/q of a pixel; p/q is the ratio of the sizes. The pattern repeats along the line.
    """
    p, q = _ratio(size, to_size)
    pixels, results = q * np.arange(p), p * np.arange(q)[:, None]
    covered = np.minimum(pixels + q, results + p) - np.maximum(pixels, results)
    return np.maximum(covered, 0).astype(np.float32)


@cache
def _per_channel(size: int, to_size: int) -> NDArray[np.float32]:
    """(3p, 3q): the weights of a line of RGB pixels."""
    return np.kron(_weights(size, to_size).T, np.eye(3, dtype=np.float32))


def _ratio(size: int, to_size: int) -> tuple[int, int]:
    """The ratio of two sizes in lowest terms."""
    common = math.gcd(size, to_size)
    return size // common, to_size // common
