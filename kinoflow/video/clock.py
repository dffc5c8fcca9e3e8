"""When each frame of a video is shown, and how long the video claims to be."""

from typing import cast

import av
from av.container import InputContainer

_GLITCH = 1.0  # seconds: a smaller step back is a wrong stamp, a larger one is a new recording
_RATE = 25  # frames per second where neither stamps nor a rate are known


class Clock:
    """The times of a video's frames, in seconds since the first; they never step back.

    Where a file has no time stamps, its frame rate gives the times. Where time stamps step back,
    as in recordings that were joined, the video goes on as if they had not.

    Args:
        video: the stream that the frames are decoded from.
    """

    def __init__(self, video: av.VideoStream) -> None:
        # stamps are rounded to a unit of time: half of it is the most that they are off
        self.rounding = float(video.time_base or 0) / 2
        self._frame = 1 / float(video.average_rate or _RATE)
        self._last: float | None = None
        self._shift = 0.0
        self.first: float | None = None  # the file's own stamp of the first frame, in seconds
        self.end = 0.0  # when the last frame so far ends

    def __call__(self, frame: av.VideoFrame) -> float:
        """When this frame begins, in seconds since the first; call it once for each frame."""
        stamp = frame.time
        if self._last is None:
            self.first = self._shift = stamp or 0.0
            time = 0.0
        elif stamp is None:
            time = self._last + self._frame
        else:
            time = stamp - self._shift
            if time < self._last - _GLITCH:
                time = self._last + self._frame
                self._shift = stamp - time
            time = max(time, self._last)
        self._last = time
        long = float(frame.duration or 0) * float(frame.time_base or 0)
        self.end = time + (long or self._frame)
        return time


def claimed_seconds(video: av.VideoStream) -> float | None:
    """How long a video is by its header; None if that does not say."""
    if video.duration and video.time_base:
        return float(video.duration * video.time_base)
    duration = cast(InputContainer, video.container).duration
    return float(duration / av.time_base) if duration else None


def early_end(end: float, claimed: float | None) -> str:
    """One line on a video whose frames end before the video should; "" if they do not.

    Args:
        end: when the last frame ends, in seconds.
        claimed: what `claimed_seconds` gives.
    """
    # headers round, and sound may be longer than the pictures
    if claimed is None or end >= claimed - max(0.5, 0.02 * claimed):
        return ""
    return f"it should last {claimed:.1f} s, but no frame can be decoded after {end:.1f} s"
