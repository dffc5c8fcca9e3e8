"""How long a video may last, and how many frames and pixels it may have, to be decoded here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import av

from kinoflow.system.sandbox import Bounds
from kinoflow.video.clock import Clock, claimed_seconds
from kinoflow.video.frames import UnreadableVideo, watched

Result = TypeVar("Result")


class TooMuchVideo(UnreadableVideo):
    """A video that is beyond the limits; the text says which one, in a sentence."""


@dataclass(frozen=True)
class Limits:
    """What a video may have at most."""

    seconds: float
    frames: int
    megapixels: float  # of one frame

    def check(self, *, seconds: float = 0.0, frames: int = 0, pixels: int = 0) -> None:
        """Raise TooMuchVideo for a video that has more of anything."""
        if pixels > self.megapixels * 1e6:
            raise TooMuchVideo(
                f"the video has frames of {pixels / 1e6:.1f} megapixels, and the limit here is "
                f"{self.megapixels:g}"
            )
        if seconds > self.seconds:
            raise TooMuchVideo(f"the video is longer than {self.seconds:g} s, the limit here")
        if frames > self.frames:
            raise TooMuchVideo(f"the video has more than {self.frames:,} frames, the limit here")


@dataclass(frozen=True)
class UploadBounds(Bounds):
    """How much decoding one upload may take, and what the upload may have."""

    limits: Limits | None = field(default=None, kw_only=True)


def limited(function: Callable[[Path], Result], bounds: Bounds) -> Callable[[Path], Result]:
    """The function, with what it decodes within the limits of the bounds, if they have any.

    Args:
        function: reads a video, through `kinoflow.video`. It will be called in a sandbox, and
            raises TooMuchVideo there.
        bounds: with limits if they are `UploadBounds`.
    """
    if not isinstance(bounds, UploadBounds) or bounds.limits is None:
        return function
    return partial(_within, function=function, limits=bounds.limits)


def _within(path: Path, *, function: Callable[[Path], Result], limits: Limits) -> Result:
    with watched(partial(_looking, limits=limits)):
        return function(path)


def _looking(video: av.VideoStream, *, limits: Limits) -> Callable[[av.VideoFrame], None]:
    """Check a video's header, which costs nothing, and return what checks each of its frames,
    since headers lie."""
    header = video.codec_context
    limits.check(
        seconds=claimed_seconds(video) or 0.0,
        frames=video.frames,
        pixels=header.width * header.height,
    )
    clock, count = Clock(video), 0

    def look(frame: av.VideoFrame) -> None:
        nonlocal count
        count += 1
        limits.check(seconds=clock(frame), frames=count, pixels=frame.width * frame.height)

    return look
