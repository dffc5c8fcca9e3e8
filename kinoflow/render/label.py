"""Draw a label and its probability into a frame.

OpenCV brings a font with Latin, Greek, Cyrillic, Arabic, Hebrew, Chinese, Japanese and Korean.
"""

from functools import cache

import cv2
import numpy as np

from kinoflow.system.terminal import printable
from kinoflow.video.spec import Frames

_WHITE = (255, 255, 255)
_SMALLEST = 9  # pixels: the size of letters
_WEIGHT = 500


def draw(frame: Frames, label: str, probability: float) -> None:
    """Draw a dark band over the bottom of a frame, with a label and its probability in it.

    Args:
        frame: uint8 RGB (H, W, 3), which is changed.
        label: in any script; cut at the end if it does not fit.
        probability: 0 to 1.
    """
    height, width = frame.shape[:2]
    high = min(height, max(16, round(height / 10)))
    band = frame[height - high :]
    np.multiply(band, 0.3, out=band, casting="unsafe")
    filled = round(width * probability)
    band[: max(2, high // 12), :filled] = _WHITE
    size, margin = max(_SMALLEST, round(high * 0.6)), max(2, round(high * 0.25))
    percent = f"{probability:.0%}"
    share = _width(percent, size)
    room = width - share - 3 * margin
    text, size_of_text = _fitted(" ".join(printable(label).split()), size, room)
    baseline = height - round(high * 0.28)
    _put(frame, text, margin, baseline, size_of_text)
    if room > 0:
        _put(frame, percent, width - margin - share, baseline, size)


def _fitted(text: str, size: int, room: int) -> tuple[str, int]:
    """The text, smaller and then cut until it is at most `room` pixels wide, and its size."""
    while size > _SMALLEST and _width(text, size) > room:
        size -= 1
    if _width(text, size) > room:
        while text and _width(text + "…", size) > room:
            text = text[:-1]
        text += "…"
    return text, size


@cache
def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")


def _width(text: str, size: int) -> int:
    x, _, wide, _ = cv2.getTextSize((0, 0), text, (0, 0), _font(), size, _WEIGHT)
    return int(x + wide)


def _put(frame: Frames, text: str, x: int, y: int, size: int) -> None:
    cv2.putText(frame, text, (x, y), _WHITE, _font(), size, _WEIGHT)
