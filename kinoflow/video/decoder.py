"""The one decoder: training, evaluation, the command line and the service sample videos here."""

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from kinoflow.video.frames import (
    UnreadableVideo,
    convert,
    decode_frames,
    open_video,
    resize,
    to_rgb,
)
from kinoflow.video.sampling import frame_indices, motion_indices, segment_indices
from kinoflow.video.spec import ClipSpec, Frames

_SMALL = 64  # pixels: the side of the pictures that are compared to see where it moves


@dataclass(frozen=True)
class VideoInfo:
    """What a video holds, by decoding all of it: `frames` is counted, not read from the header."""

    frames: int
    fps: float  # frames per second; 0 where the container does not say
    seconds: float  # frames / fps; 0 where fps is 0
    width: int  # pixels, after rotation
    height: int  # pixels, after rotation
    codec: str  # as FFmpeg names it: mpeg4, h264, av1


def probe(path: Path | str) -> VideoInfo:
    """Decode a video to its end and say what it holds.

    Raises UnreadableVideo for a file that is missing, is no video or gives no frame.
    """
    frames, size, kind = 0, (0, 0), None
    with open_video(path) as video:
        for frame in decode_frames(video):
            before, kind = kind, (frame.width, frame.height, frame.format.name, frame.colorspace)
            if kind != before:
                # takes most of the memory that sampling will, and may be what cannot be done:
                # both have to be found out here
                pixels = to_rgb(frame, VideoReformatter())
                size = size if frames else (pixels.shape[1], pixels.shape[0])
                del pixels
            frames += 1
        fps = float(video.average_rate or 0)
        return VideoInfo(
            frames=frames,
            fps=round(fps, 3),
            seconds=round(frames / fps, 3) if fps else 0.0,
            width=size[0],
            height=size[1],
            codec=video.codec_context.codec.canonical_name,
        )


def sample(path: Path | str, spec: ClipSpec) -> Frames:
    """Sample a video over its whole length, at the places that `spec.sampling` chooses.

    Returns uint8 RGB (T, H, W, 3), the way up that the container's rotation asks for, scaled
    to the spec's size by area interpolation (the aspect ratio is not kept). A video with fewer
    frames than the spec is padded by repeating its last frame, or, where `spec.padding` is
    `mask`, with frames that are zero throughout. Then no other frame is: one that is black in
    itself is given as 1 throughout, so that a mask can be read off the clip, and a black video
    is not taken for padding alone.

    Raises UnreadableVideo for a file that is missing, is no video or gives no frame.

    Frames are decoded in order to the end, which is exact where seeking is not, and only those
    that are wanted are converted. Where the header claims another number of frames than there
    are, that takes a second pass. Sampling by motion always takes two, the first to see where
    it moves.
    """
    choose = _chooser(path, spec)
    total, frames = _decode(path, spec, choose, None)
    if not frames.keys() >= set(choose(total).tolist()):
        total, frames = _decode(path, spec, choose, total)
    clip = np.stack([frames[index] for index in choose(total).tolist()])
    if spec.padding == "mask":
        clip[total:] = 0
    return clip


def runs(path: Path | str, starts: Collection[int], spec: ClipSpec) -> Iterator[Frames]:
    """Yield the `spec.frames` consecutive frames from each of the indices `starts`, in order.

    Each run is uint8 RGB (T, H, W, 3); runs may overlap. Raises UnreadableVideo for a file that
    is missing, is no video or ends before a run does.
    """
    wanted = {start + offset for start in starts for offset in range(spec.frames)}
    window: deque[Frames] = deque(maxlen=spec.frames)
    converter, last = VideoReformatter(), max(wanted, default=-1)
    with open_video(path) as video:
        for index, frame in enumerate(decode_frames(video)):
            if index in wanted:
                window.append(resize(to_rgb(frame, converter), spec))
            if index - spec.frames + 1 in starts:
                yield np.stack(window)
            if index >= last:
                return
    raise UnreadableVideo(f"it ends after {index + 1} frames")


def decoder_version() -> str:
    """What sampled pixels depend on beside the file and the spec."""
    return f"pyav-{av.__version__} opencv-{cv2.__version__}"


def _chooser(path: Path | str, spec: ClipSpec) -> Callable[[int], NDArray[np.int64]]:
    """What gives the indices to sample, for the number of frames that a video has."""
    if spec.sampling == "motion":
        chosen = motion_indices(_intensity(path), spec.frames)
        return lambda total: chosen
    return partial(
        segment_indices if spec.sampling == "segment" else frame_indices, wanted=spec.frames
    )


def _intensity(path: Path | str) -> NDArray[np.float32]:
    """How much each frame of a video differs from the one before it: (N,), 0 for the first.

    It is the mean absolute difference of the frames, small and without colours, in grey levels.
    No more than two of them are held at a time.
    """
    with open_video(path) as video:
        return np.fromiter(_differences(video), np.float32)


def _differences(video: av.VideoStream) -> Iterator[float]:
    converter, before = VideoReformatter(), None
    for frame in decode_frames(video):
        small = convert(
            frame, converter, width=_SMALL, height=_SMALL, format="gray", interpolation="AREA"
        )
        yield 0.0 if before is None else float(cv2.absdiff(small, before).mean())
        before = small


def _decode(
    path: Path | str,
    spec: ClipSpec,
    choose: Callable[[int], NDArray[np.int64]],
    total: int | None,
) -> tuple[int, dict[int, Frames]]:
    """Decode all of a video, keeping the frames that `choose` wants of one of `total` frames.

    Without `total`, the number that the header claims. Returns how many frames there are, and
    those kept by their index.
    """
    kept: dict[int, Frames] = {}
    count = 0
    with open_video(path) as video:
        wanted = set(choose(total or _claimed(video)).tolist())
        converter = VideoReformatter()
        for index, frame in enumerate(decode_frames(video)):
            if index in wanted:
                kept[index] = resize(to_rgb(frame, converter), spec)
            count = index + 1
    return count, kept


def _claimed(video: av.VideoStream) -> int:
    """How many frames there are by the header, which is often wrong by one or two; at least 1."""
    if video.frames:
        return max(1, video.frames)
    seconds = (cast(InputContainer, video.container).duration or 0) / av.time_base
    return max(1, round(seconds * float(video.average_rate or 0)))
