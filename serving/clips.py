"""Read a clip that comes as an array, without pickle."""

import io
import math

import numpy as np

from kinoflow.video.spec import Frames
from serving.refusals import Refusal

_MAGIC = b"\x93NUMPY"
MOST_HEADER = 4096  # bytes of the header of an .npy file; NumPy writes 128 for an array of uint8


def read(body: bytes, shape: tuple[int, ...]) -> Frames:
    """The clip in a request's body.

    Args:
        body: an .npy file with a uint8 array, or the bytes of the array alone, in C order.
        shape: of the clip, (T, H, W, 3).

    Returns uint8 RGB of that shape. Raises Refusal (400) for any other body.
    """
    size = math.prod(shape)
    # never an .npy file, which has a header besides
    if len(body) == size:
        return np.frombuffer(body, np.uint8).reshape(shape)
    if not body.startswith(_MAGIC):
        raise _refusal(shape, f"{len(body)} bytes")
    try:
        # parses the header as a literal, and refuses objects, which would be pickled
        array = np.lib.format.read_array(
            io.BytesIO(body), allow_pickle=False, max_header_size=MOST_HEADER
        )
    except Exception:  # noqa: BLE001 a damaged header raises errors of many classes
        raise _refusal(shape, "an .npy file that cannot be read without pickle") from None
    if array.dtype != np.uint8 or array.shape != shape:
        raise _refusal(shape, f"an array of {array.dtype} {array.shape}")
    return np.ascontiguousarray(array)


def _refusal(shape: tuple[int, ...], got: str) -> Refusal:
    return Refusal(
        400,
        f"send a clip as a uint8 array of shape {shape}, as an .npy file or as its "
        f"{math.prod(shape)} bytes alone; this is {got}",
    )
