"""The one decoder: training, evaluation, the command line and the service read videos here."""

import math
import os
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]

# Headers are wrong by a frame or two in nearly every AVI of the field, mostly claiming too many.
_HEADER_ERROR = 2


class UnreadableVideo(Exception):
    """The file gives no frame. Its text is the reason, in words for a person."""


@dataclass(frozen=True)
class ClipSpec:
    """The shape of a clip: how many frames, and their size in pixels."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    frames: int
    height: int
    width: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, H, W, 3)"""
        return (self.frames, self.height, self.width, 3)


@dataclass(frozen=True)
class VideoInfo:
    """What a video holds, by decoding all of it: `frames` is counted, not read from the header."""

    frames: int
    fps: float  # frames per second; 0 where the container does not say
    seconds: float  # frames / fps; 0 where fps is 0
    width: int  # pixels, after rotation
    height: int  # pixels, after rotation
    codec: str  # four characters, as the container names it


def probe(path: Path | str) -> VideoInfo:
    """Decode a video to its end and say what it holds.

    Raises UnreadableVideo for a file that is missing, is no video or gives no frame.
    """
    with _opened(path) as capture:
        decoded, first = capture.read()
        if not decoded:
            raise UnreadableVideo(_no_frame(capture))
        frames = 1
        while capture.grab():
            frames += 1
        fps = capture.get(cv2.CAP_PROP_FPS)
        fps = fps if math.isfinite(fps) and fps > 0 else 0.0
        return VideoInfo(
            frames=frames,
            fps=round(fps, 3),
            seconds=round(frames / fps, 3) if fps else 0.0,
            width=first.shape[1],
            height=first.shape[0],
            codec=_codec(capture),
        )


def sample(path: Path | str, spec: ClipSpec) -> Frames:
    """Sample a video uniformly over its whole length.

    Returns uint8 RGB (T, H, W, 3), the way up that the container's rotation asks for, scaled
    to the spec's size by area interpolation (the aspect ratio is not kept). A video with fewer
    frames than the spec is padded by repeating its last frame.

    Raises UnreadableVideo for a file that is missing, is no video or gives no frame.

    One pass almost always suffices: frames are grabbed in order, which is exact where seeking
    is not, and only those are converted that would be wanted if the header were right or wrong
    by up to two frames. A header further off costs a second pass.
    """
    frames, total = _decode(path, spec)
    if not frames.keys() >= set(frame_indices(total, spec.frames).tolist()):
        frames, total = _decode(path, spec, total)
    return np.stack([frames[index] for index in frame_indices(total, spec.frames).tolist()])


def stream(source: Path | str | int, spec: ClipSpec, *, every: int = 1) -> Iterator[Frames]:
    """Yield the clip of the latest frames, every `every` frames, while a source goes on.

    `source` is a file, the URL of a stream or the number of a camera. Each clip is uint8 RGB
    (T, H, W, 3) and holds the last T frames; the first comes once T frames have been seen.

    Raises UnreadableVideo for a source that does not open or gives no frame.
    """
    window: deque[Frames] = deque(maxlen=spec.frames)
    seen = 0
    with _opened(source) as capture:
        while capture.grab():
            window.append(_retrieve(capture, spec))
            seen += 1
            if len(window) == spec.frames and (seen - spec.frames) % every == 0:
                yield np.stack(window)
        if not seen:
            raise UnreadableVideo(_no_frame(capture))


def frame_indices(available: int, wanted: int) -> NDArray[np.int64]:
    """Indices (wanted,) of the frames at the centres of `wanted` equal parts of a video.

    With fewer frames available than wanted: each of them once, then the last one repeated.
    """
    if available < wanted:
        return np.minimum(np.arange(wanted), available - 1)
    return (2 * np.arange(wanted) + 1) * available // (2 * wanted)


def decoder_version() -> str:
    """What sampled pixels depend on beside the file and the spec."""
    return f"opencv-{cv2.__version__}"


def _decode(
    path: Path | str, spec: ClipSpec, total: int | None = None
) -> tuple[dict[int, Frames], int]:
    """Decode all of a video and keep the frames to sample if it holds `total` frames.

    Without `total`: all that could be wanted with a header that is right or nearly so. Returns
    the kept frames by index, and how many frames there are.
    """
    kept: dict[int, Frames] = {}
    index = 0
    with _opened(path) as capture:
        if total is None:
            claimed = max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
            totals = range(max(1, claimed - _HEADER_ERROR), claimed + 1)
        else:
            totals = range(total, total + 1)
        wanted = {i for count in totals for i in frame_indices(count, spec.frames).tolist()}
        while capture.grab():
            if index in wanted:
                kept[index] = _retrieve(capture, spec)
            index += 1
        if index == 0:
            raise UnreadableVideo(_no_frame(capture))
    return kept, index


def _retrieve(capture: cv2.VideoCapture, spec: ClipSpec) -> Frames:
    decoded, frame = capture.retrieve()
    if not decoded:
        raise UnreadableVideo("a frame is damaged and cannot be decoded")
    if frame.shape[:2] != (spec.height, spec.width):
        frame = cv2.resize(frame, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8)


@contextmanager
def _opened(source: Path | str | int) -> Iterator[cv2.VideoCapture]:
    if isinstance(source, Path):
        if not source.is_file():
            raise UnreadableVideo("there is no such file")
        if source.stat().st_size == 0:
            raise UnreadableVideo("the file is empty")
    # its warnings repeat, less clearly, what the reasons given here say
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    name = source if isinstance(source, int) else str(source)
    capture = cv2.VideoCapture(name)
    try:
        if not capture.isOpened():
            raise UnreadableVideo("it is no video, or one in a format that cannot be opened")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        yield capture
    finally:
        capture.release()


def _no_frame(capture: cv2.VideoCapture) -> str:
    return f"it opens, but no frame can be decoded (codec {_codec(capture)})"


def _codec(capture: cv2.VideoCapture) -> str:
    fourcc = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    text = fourcc.to_bytes(4, "little").decode("latin-1").strip("\0 ")
    return text if text.isprintable() and text else "unknown"


def runs(path: Path | str, starts: Collection[int], spec: ClipSpec) -> Iterator[Frames]:
    """Yield the `spec.frames` consecutive frames from each of the indices `starts`, in order.

    Each run is uint8 RGB (T, H, W, 3); runs may overlap. Raises UnreadableVideo for a file that
    is missing, is no video or ends before a run does.
    """
    wanted = {start + offset for start in starts for offset in range(spec.frames)}
    window: deque[Frames] = deque(maxlen=spec.frames)
    with _opened(path) as capture:
        for index in range(max(wanted, default=-1) + 1):
            if not capture.grab():
                raise UnreadableVideo(f"it ends after {index} frames")
            if index in wanted:
                window.append(_retrieve(capture, spec))
            if index - spec.frames + 1 in starts:
                yield np.stack(window)
