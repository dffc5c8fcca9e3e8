"""Write a video that browsers play, small and quickly, of one that they may not play."""

import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.video.reformatter import VideoReformatter

from kinoflow.render.film import aspect, writing
from kinoflow.video.clock import Clock
from kinoflow.video.frames import blame_file, convert, decode_frames, open_video

_WIDE, _HIGH = 640, 1280  # pixels, at most
_APART_S = 1 / 31  # seconds between two frames, at least
# for speed; the rate bounds what noise would take
_X264 = {"preset": "ultrafast", "crf": "26", "maxrate": "4M", "bufsize": "4M"}


@dataclass(frozen=True)
class Made:
    """A preview that was written."""

    seconds: float  # how long it is
    whole: bool  # whether it is all of the video


def make(path: Path, *, out: Path, until: float, most: int) -> Made:
    """Write a video again: at most 640 pixels wide and 1280 high, at most 30 frames per second.

    Args:
        path: the video.
        out: the file to write, .mp4.
        until: when to stop, on the clock of time.monotonic().
        most: bytes after which to stop, about.

    Raises UnreadableVideo for a file that is missing, is no video or gives no frame.
    """
    with open_video(path) as video:
        clock, converter = Clock(video), VideoReformatter()
        last, whole = -1.0, True
        size: dict[str, int] = {}
        rate = min(Fraction(video.average_rate or 25), Fraction(30))
        with writing(out, rate, _X264) as made:
            for frame in decode_frames(video):
                shown = clock(frame)
                if last >= 0 and shown - last < _APART_S:
                    continue
                if time.monotonic() >= until or made.bytes > most:
                    whole = False
                    break
                with blame_file("its rotation is not a valid angle"):
                    quarters = frame.rotation // 90
                if not size:
                    width, height = _fitted(frame.width, frame.height, turned=quarters % 2 == 1)
                    size = {"width": width, "height": height}
                    wide, high = (height, width) if quarters % 2 else (width, height)
                    made.open(wide, high, aspect(video, frame))
                small = convert(frame, converter, format="rgb24", **size)
                made.add(shown, np.rot90(small, quarters))
                last = shown
        return Made(clock.end if whole else last, whole)


def _fitted(width: int, height: int, *, turned: bool) -> tuple[int, int]:
    """The size of frames that fit after they are turned by a quarter, or without."""
    wide, high = (_HIGH, _WIDE) if turned else (_WIDE, _HIGH)
    share = min(1, wide / width, high / height)
    # even, as H.264 wants it
    return max(2, round(width * share) // 2 * 2), max(2, round(height * share) // 2 * 2)
