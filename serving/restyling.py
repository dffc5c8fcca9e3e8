"""Short videos repainted in the style of the network in the Bento, as films."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from av.video.reformatter import VideoReformatter

from kinoflow.render.film import aspect, writing
from kinoflow.style.fast import FastStyle
from kinoflow.system.fair_semaphore import FairSemaphore
from kinoflow.video.clock import Clock
from kinoflow.video.frames import blame_file, convert, decode_frames, open_video
from kinoflow.video.spec import Frames
from serving.answering import Answering
from serving.decoding import sandboxed
from serving.limits import Limits, UploadBounds
from serving.refusals import Refusal
from serving.state import room
from serving.uploads import Upload, written

# what a short video is; smaller settings of the service go first
SECONDS, FRAMES = 20.0, 600
LONGEST = 480  # pixels of a repainted frame's longer side, at most
_APART_S = 1 / 31  # seconds between two frames, at least
_TOGETHER = 4  # frames that the network repaints in one call


@dataclass(frozen=True)
class Repainted:
    """A video that was repainted."""

    file: IO[bytes]  # to read and to close; it has no name any more
    size: int  # bytes


@dataclass(frozen=True)
class Unpacked:
    """The frames of a video, which lie in a file one after the other, and how to show them."""

    times: tuple[float, ...]  # when each begins, in seconds
    height: int
    width: int
    aspect: Fraction | None  # of a pixel
    rate: Fraction  # frames per second, about


class Restyling:
    """Repaints videos, one at a time, while requests use the model as well.

    Args:
        answering: says how much decoding may take.
        style: the network.
    """

    def __init__(self, answering: Answering, style: FastStyle) -> None:
        self._answering = answering
        self._style = style
        self._free = FairSemaphore()
        # this compiles it
        style(np.zeros((_TOGETHER, 48, 64, 3), np.float32))
        style(np.zeros((_TOGETHER, 64, 48, 3), np.float32))

    @property
    def name(self) -> str:
        """The style, called like the pictures that the network was trained by."""
        return ", ".join(Path(name).stem for name in self._style.about.styles)

    def video(self, upload: Upload) -> Repainted:
        """Repaint a video; it is H.264 in MP4 then, without sound.

        Raises Refusal: 413 for a video that is not short, 503 if others took all the time, 504 if
        the time was not enough, 507 if the disk is full; and as `serving.decoding.sandboxed` does.
        """
        with written(upload) as path:
            if not self._free.acquire(1, upload.deadline):
                raise Refusal(503, "other videos took all the time: try again later")
            try:
                frames, out = path.parent / "frames", path.parent / "repainted.mp4"
                found, _ = sandboxed(
                    partial(unpack, out=frames), path, self._bounds(), upload.deadline
                )
                with room(), writing(out, found.rate) as film:
                    film.open(found.width, found.height, found.aspect)
                    painted = self._painted(found, frames, upload.deadline)
                    for moment, picture in zip(found.times, painted, strict=True):
                        film.add(moment, picture)
            finally:
                self._free.release()
            # its name goes with the folder, so that nothing is left of it after a kill
            return Repainted(out.open("rb"), out.stat().st_size)

    def _bounds(self) -> UploadBounds:
        bounds, settings = self._answering.decoding, self._answering.settings
        assert isinstance(bounds, UploadBounds)
        limits = Limits(
            min(settings.max_seconds, SECONDS),
            min(settings.max_frames, FRAMES),
            settings.max_megapixels,
        )
        return replace(bounds, limits=limits)

    def _painted(self, found: Unpacked, frames: Path, deadline: float) -> Iterator[Frames]:
        """The repainted frames, uint8 (H, W, 3) each. Raises Refusal (504) at the deadline."""
        shape = (len(found.times), found.height, found.width, 3)
        clip = np.memmap(frames, np.uint8, "r", shape=shape)
        for first in range(0, len(clip), _TOGETHER):
            if time.monotonic() >= deadline:
                raise Refusal(504, "the video was not repainted in time: send a shorter one")
            some = clip[first : first + _TOGETHER].astype(np.float32) / np.float32(255)
            yield from np.rint(self._style(some) * 255).astype(np.uint8)


def unpack(path: Path, *, out: Path) -> Unpacked:
    """Decode a video into a file: uint8 RGB frames, at most 480 pixels long and 31 per second.

    Runs in a sandbox process.

    Args:
        path: the video.
        out: the file to write.

    Raises UnreadableVideo for a file that is missing, is no video or gives no frame.
    """
    times: list[float] = []
    size: dict[str, int] = {}
    with open_video(path) as video, out.open("wb") as file:
        clock, converter = Clock(video), VideoReformatter()
        for frame in decode_frames(video):
            moment = clock(frame)
            if times and moment - times[-1] < _APART_S:
                continue
            with blame_file("its rotation is not a valid angle"):
                quarters = frame.rotation // 90
            if not size:
                scale = min(1, LONGEST / max(frame.width, frame.height))
                # even, as H.264 wants it
                size = {
                    name: max(2, round(side * scale) // 2 * 2)
                    for name, side in (("width", frame.width), ("height", frame.height))
                }
                ratio, turned = aspect(video, frame), quarters % 2 == 1
            small = convert(frame, converter, format="rgb24", **size)
            # one that is turned otherwise than the first is left as it is
            small = np.rot90(small, quarters if (quarters % 2 == 1) == turned else int(turned))
            file.write(np.ascontiguousarray(small).tobytes())
            times.append(moment)
        rate = min(Fraction(video.average_rate or 25), Fraction(30))
    height, width = size["height"], size["width"]
    if turned:
        height, width = width, height
    return Unpacked(tuple(times), height, width, ratio, rate)
