"""What a model is given: the look of a clip's frames, and what its file says of itself."""

import contextlib
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from av.container import InputContainer

from kinoflow.video.clock import claimed_seconds
from kinoflow.video.frames import UnreadableVideo, blame_file, open_video
from kinoflow.video.padding import unpadded
from kinoflow.video.spec import Frames

UNKNOWN = float("nan")


@dataclass(frozen=True)
class Look:
    """What a clip's frames look like, as the model takes them."""

    brightness: float  # mean grey level, 0 to 255
    contrast: float  # standard deviation of grey levels within a frame, averaged
    motion: float  # mean difference of grey levels between a frame and the next
    sharpness: float  # standard deviation of the Laplacian within a frame, averaged


@dataclass(frozen=True)
class Header:
    """What a video's file says of itself; numbers are NaN and texts are empty where it does not."""

    seconds: float = UNKNOWN
    fps: float = UNKNOWN  # frames per second
    width: float = UNKNOWN  # pixels, before rotation, as the height
    height: float = UNKNOWN
    codec: str = ""  # as FFmpeg names it: mpeg4, h264, av1


NUMBERS = ("brightness", "contrast", "motion", "sharpness", "seconds", "fps", "width", "height")


def numbers(look: Look, header: Header) -> tuple[float, ...]:
    """The values of `NUMBERS`, in this order."""
    return (*astuple(look), header.seconds, header.fps, header.width, header.height)


def look(clip: Frames) -> Look:
    """Measure a clip, uint8 RGB (T, H, W, 3). Padding with black frames is left out."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in unpadded(clip)]
    levels = np.array([cv2.meanStdDev(frame) for frame in grey])[..., 0, 0]
    # a clip with one frame does not move
    steps = [cv2.mean(cv2.absdiff(*pair))[0] for pair in pairwise(grey)] or [0.0]
    edges = [cv2.meanStdDev(cv2.Laplacian(frame, cv2.CV_16S))[1][0, 0] for frame in grey]
    # rounded, since processors differ in the last digits
    brightness, contrast, motion, sharpness = (
        round(float(np.mean(each)), 3) for each in (levels[:, 0], levels[:, 1], steps, edges)
    )
    return Look(brightness, contrast, motion, sharpness)


def header(path: Path) -> Header:
    """Read what a video says of itself. Decodes nothing; a file that cannot be read is unknown."""
    with contextlib.suppress(UnreadableVideo), open_video(path) as video:
        seconds = claimed_seconds(video) or 0.0
        if seconds <= 0:
            # as browsers record: the header is written before the length is known
            with blame_file("its packets cannot be read"):
                packets = cast(InputContainer, video.container).demux(video)
                ends = (each.pts + (each.duration or 0) for each in packets if each.pts is not None)
                seconds = float(max(ends, default=0) * (video.time_base or 0))
        return Header(
            seconds=round(seconds, 3) or UNKNOWN,
            fps=round(float(video.average_rate or 0), 3) or UNKNOWN,
            width=float(video.codec_context.width) or UNKNOWN,
            height=float(video.codec_context.height) or UNKNOWN,
            codec=video.codec_context.codec.canonical_name,
        )
    return Header()
