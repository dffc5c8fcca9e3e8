"""Overlapping windows of a video: clips of equal length in seconds, from one pass of the decoder.

A clip for training covers a whole video. A window covers as many seconds as such a video has, and
takes its frames at the same steps of time, whatever the frame rate. Windows begin on a grid of
these steps, so that a frame which several windows take is converted and scaled once. No more than
one window's small frames are held in memory.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from kinoflow.video.frames import convert, resize, to_rgb
from kinoflow.video.sampling import motion_guided_indices
from kinoflow.video.spec import ClipSpec, Frames

_SMALL = 64  # pixels: the side of the small frames whose differences are measured, as in `sample`
_DENSE = 256  # the least number of frames of a window among which the mode `motion` chooses
_LONG = 256  # points of the grid that show one frame before any are left out, at least


@dataclass(frozen=True)
class Window:
    """A part of a video, and its clip."""

    start: float  # seconds since the video's first frame
    end: float  # seconds
    clip: Frames  # (T, H, W, 3)


@dataclass(frozen=True)
class _Kept:
    """A frame of the video that windows may take."""

    number: int
    pixels: Frames  # (H, W, 3), scaled
    grey: NDArray[np.uint8]  # (h, w), small, for the mode `motion`; empty for the others


class Windows:
    """Makes windows of frames that come one after the other.

    Which frames a window takes follows the spec's sampling. `uniform`: those shown in the middle of
    each of T equal parts. `segment`: those shown at a random moment of each part, always the same
    one. `motion`: those at equal steps of accumulated motion, among the window's frames (among 256
    or more, evenly spaced in time, if it has more).

    Args:
        spec: the clips.
        seconds: how long a window is.
        every: how many of the T parts one window begins after another; a quarter of T if None.
        rounding: by how many seconds the times of frames may be off.

    Raises ValueError for a length that is not above 0.
    """

    def __init__(
        self, spec: ClipSpec, seconds: float, *, every: int | None = None, rounding: float = 0.0
    ) -> None:
        if not seconds > 0:
            raise ValueError(f"a window must be longer than 0 seconds, got {seconds}")
        self.spec = spec
        self.every = every or max(1, spec.frames // 4)
        self.seconds = seconds
        self._rounding = rounding + 1e-9
        # the grid may be finer than the T parts
        self._finer = -(-_DENSE // spec.frames) if spec.sampling == "motion" else 1
        self._points = spec.frames * self._finer  # of a window
        self._step = seconds / self._points
        self._kept: deque[_Kept] = deque(maxlen=self._points)
        self._done = 0  # points of the grid that are behind
        self._emitted = 0  # where the last window ended, as a point of the grid
        self._before: av.VideoFrame | None = None
        self._numbers = 0
        self._converter = VideoReformatter()

    def add(self, time: float, frame: av.VideoFrame) -> Iterator[Window]:
        """Take the next frame, and yield the windows that end before it.

        Args:
            time: when it begins, in seconds since the first; no earlier than the frame before.
            frame: as decoded.

        Raises UnreadableVideo for a frame that cannot be converted.
        """
        yield from self.until(time)
        self._before = frame

    def finish(self, end: float) -> Iterator[Window]:
        """Yield the windows that end with the video, at `end` seconds.

        The last one ends with the video, wherever that is on the grid. A video shorter than a
        window has none.
        """
        yield from self.until(end)
        if self._emitted < self._done and len(self._kept) == self._points:
            yield self._window()

    def until(self, time: float) -> Iterator[Window]:
        """Yield the windows that end before `time`, until which the last frame is shown."""
        if self._before is None:
            return
        kept: _Kept | None = None
        while self._time(self._done) < time - self._rounding:
            kept = kept or self._keep(self._before)
            ahead = int((time - self._rounding) / self._step) - 1 - self._done
            if ahead > max(_LONG, 2 * self._points) and self._all_are(kept):
                # Nothing but this frame is shown for long. Windows that hold it alone say nothing.
                stride = self.every * self._finer
                self._done += (ahead - self._points) // stride * stride
            self._kept.append(kept)
            self._done += 1
            past = self._done - self._points
            if past >= 0 and past % (self.every * self._finer) == 0:
                yield self._window()

    def _all_are(self, kept: _Kept) -> bool:
        return len(self._kept) == self._points and self._kept[0] is kept

    def _time(self, point: int) -> float:
        """When a point of the grid is, in seconds."""
        if self.spec.sampling != "segment":
            return (point + 0.5) * self._step
        # raw bits, because NumPy's distributions may change from version to version
        return (point + int(np.random.PCG64(point).random_raw()) / 2**64) * self._step

    def _keep(self, frame: av.VideoFrame) -> _Kept:
        grey = np.empty((0, 0), np.uint8)
        if self.spec.sampling == "motion":
            size = {"width": _SMALL, "height": _SMALL}
            grey = convert(frame, VideoReformatter(), format="gray", interpolation="AREA", **size)
        self._numbers += 1
        return _Kept(self._numbers, resize(to_rgb(frame, self._converter), self.spec), grey)

    def _window(self) -> Window:
        self._emitted = self._done
        end = self._done * self._step
        return Window(max(0.0, end - self.seconds), end, self._clip())

    def _clip(self) -> Frames:
        if self.spec.sampling != "motion":
            return np.stack([kept.pixels for kept in self._kept])
        frames = list({kept.number: kept for kept in self._kept}.values())
        small = [kept.grey for kept in frames]
        moved = [0.0]
        moved += [float(cv2.absdiff(b, a).mean()) for a, b in pairwise(small)]
        chosen = motion_guided_indices(np.array(moved, np.float32), self.spec.frames)
        clip = np.stack([frames[index].pixels for index in chosen])
        if self.spec.padding == "mask":
            clip[len(frames) :] = 0
        return clip
