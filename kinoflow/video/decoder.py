"""The one decoder: training, evaluation, the command line and the service sample videos here."""

import contextlib
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
    blame_file,
    convert,
    decode_frames,
    open_video,
    resize,
    to_rgb,
)
from kinoflow.video.sampling import frame_indices, motion_guided_indices, segment_indices
from kinoflow.video.spec import ClipSpec, Frames

_SMALL = 64  # pixels: the side of the small frames whose differences are measured

# takes the number of frames of a video, gives the indices (T,) of the frames of its clip
IndexRule = Callable[[int], NDArray[np.int64]]


@dataclass(frozen=True)
class VideoInfo:
    """What a video holds, found by decoding all of it."""

    frames: int  # counted, not read from the header
    fps: float  # frames per second; 0 where the container does not say
    seconds: float  # frames / fps; 0 where fps is 0
    width: int  # pixels, after rotation
    height: int  # pixels, after rotation
    codec: str  # as FFmpeg names it: mpeg4, h264, av1


@dataclass(frozen=True)
class Wanted:
    """Frames to keep of a video while it is probed."""

    indices: IndexRule  # which ones
    # how they are scaled, perhaps by the video's width and height
    spec: ClipSpec | Callable[[int, int], ClipSpec]


def probe(path: Path | str) -> VideoInfo:
    """Decode a whole video and return what it holds.

    Raises UnreadableVideo for a file that is missing, is no video or gives no frame.
    """
    return survey(path, ())[0]


def survey(path: Path | str, wanted: Sequence[Wanted]) -> tuple[VideoInfo, list[Frames | None]]:
    """Decode a whole video once, return what it holds, and keep some of its frames.

    Args:
        path: the video.
        wanted: which frames to keep.

    Returns what the video holds, and for each of `wanted` the frames, uint8 RGB (N, H, W, 3), in
    the order of its indices. They are what `sample` and `runs` give. Instead of the frames it
    gives None if the file has not as many frames as packets, or if one cannot be converted:
    `sample` and `runs` then tell what is possible.

    Raises UnreadableVideo for a file that is missing, is no video or gives no frame.
    """
    keepers: list[_Keeper] = []
    frames, size, kind = 0, (0, 0), None
    with open_video(path) as video:
        total = (_indexed_frames(video) or _count_packets(path)) if wanted else 0
        for frame in decode_frames(video):
            before, kind = kind, (frame.width, frame.height, frame.format.name, frame.colorspace)
            if kind != before:
                # Conversion takes most of the memory that sampling will take, and it may fail. Both
                # must show now, so it is tried for each size and pixel format in the video.
                pixels = to_rgb(frame, VideoReformatter())
                if not frames:
                    size = (pixels.shape[1], pixels.shape[0])
                    keepers = [_Keeper(each, total, *size) for each in wanted if total]
                del pixels
            for keeper in keepers:
                if frames in keeper.missing:
                    keeper.take(frames, frame)
            frames += 1
        fps = float(video.average_rate or 0)
        info = VideoInfo(
            frames=frames,
            fps=round(fps, 3),
            seconds=round(frames / fps, 3) if fps else 0.0,
            width=size[0],
            height=size[1],
            codec=video.codec_context.codec.canonical_name,
        )
    if frames != total:
        return info, [None] * len(wanted)
    return info, [keeper.clip() for keeper in keepers]


def sample(path: Path | str, spec: ClipSpec) -> Frames:
    """Sample a clip from the whole length of a video.

    Args:
        path: the video.
        spec: the size of the clip, and which frames to take.

    Returns uint8 RGB (T, H, W, 3), rotated as the container says, and scaled by area interpolation
    without keeping the aspect ratio. A video with fewer frames than the spec is padded by
    repeating its last frame, or, if `spec.padding` is `mask`, with black frames (0 throughout). In
    the latter case no other frame of the clip is black: a black frame of the video becomes 1
    throughout. So the mask can be derived from the clip, and a black video is not all padding.

    Raises UnreadableVideo for a file that is missing, is no video or gives no frame.

    All frames are decoded in order, because seeking is not exact, and only the wanted ones are
    converted. If the header claims a wrong number of frames, the video is decoded a second time.
    The sampling mode `motion` always decodes twice, the first time to compare the frames.
    """
    rule = _index_rule(path, spec)
    total, frames = _decode(path, spec, rule, None)
    if not frames.keys() >= set(rule(total).tolist()):
        total, frames = _decode(path, spec, rule, total)
    return _stacked(frames, rule(total).tolist(), total, spec)


def runs(path: Path | str, starts: Collection[int], spec: ClipSpec) -> Iterator[Frames]:
    """Yield runs of consecutive frames of a video, in order of time.

    Args:
        path: the video.
        starts: the index of the first frame of each run; runs may overlap.
        spec: how many frames a run has, and their size.

    Yields uint8 RGB (T, H, W, 3) for each start.

    Raises UnreadableVideo for a file that is missing, is no video or ends before a run does.
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


def index_rule(spec: ClipSpec) -> IndexRule | None:
    """Which frames make a clip by the number of frames alone; None if it takes more to tell."""
    if spec.sampling == "motion":
        return None
    return partial(
        segment_indices if spec.sampling == "segment" else frame_indices, wanted=spec.frames
    )


def _index_rule(path: Path | str, spec: ClipSpec) -> IndexRule:
    """The rule of the spec's sampling mode; for `motion` this decodes the video."""
    rule = index_rule(spec)
    if rule is None:
        indices = motion_guided_indices(_frame_differences(path), spec.frames)
        return lambda total: indices
    return rule


def _frame_differences(path: Path | str) -> NDArray[np.float32]:
    """How much each frame of a video differs from the one before it: (N,), 0 for the first.

    The measure is the mean absolute difference, in grey levels, of small grey versions of the
    frames. No more than two frames are held in memory.
    """
    with open_video(path) as video:
        return np.fromiter(_difference_per_frame(video), np.float32)


def _difference_per_frame(video: av.VideoStream) -> Iterator[float]:
    converter, before = VideoReformatter(), None
    for frame in decode_frames(video):
        small = convert(
            frame, converter, width=_SMALL, height=_SMALL, format="gray", interpolation="AREA"
        )
        yield 0.0 if before is None else float(cv2.absdiff(small, before).mean())
        before = small


def _decode(
    path: Path | str, spec: ClipSpec, rule: IndexRule, total: int | None
) -> tuple[int, dict[int, Frames]]:
    """Decode a whole video, and keep the frames that `rule` names.

    Args:
        path: the video.
        spec: the size to scale the kept frames to.
        rule: which frames to keep.
        total: how many frames the video has; None: the number that its header claims.

    Returns how many frames were decoded, and the kept frames by their index.
    """
    kept: dict[int, Frames] = {}
    count = 0
    with open_video(path) as video:
        wanted = set(rule(total or _claimed_frames(video)).tolist())
        converter = VideoReformatter()
        for index, frame in enumerate(decode_frames(video)):
            if index in wanted:
                kept[index] = resize(to_rgb(frame, converter), spec)
            count = index + 1
    return count, kept


def _stacked(
    frames: Mapping[int, Frames], indices: Sequence[int], total: int, spec: ClipSpec
) -> Frames:
    """The clip of these frames of a video that has `total` frames, padded as the spec says."""
    clip = np.stack([frames[index] for index in indices])
    if spec.padding == "mask":
        clip[total:] = 0
    return clip


class _Keeper:
    """The wanted frames of one video, as its frames come by.

    Args:
        wanted: which frames to keep.
        total: how many frames the video seems to have.
        width: of the video, in pixels.
        height: of the video, in pixels.
    """

    def __init__(self, wanted: Wanted, total: int, width: int, height: int) -> None:
        self.total = total
        self.spec = wanted.spec if isinstance(wanted.spec, ClipSpec) else wanted.spec(width, height)
        self.indices: list[int] = wanted.indices(total).tolist()
        self.missing = set(self.indices)
        self.frames: dict[int, Frames] = {}
        self.converter = VideoReformatter()

    def take(self, index: int, frame: av.VideoFrame) -> None:
        """Keep a frame; keep no more after one that cannot be converted."""
        try:
            self.frames[index] = resize(to_rgb(frame, self.converter), self.spec)
        except UnreadableVideo:
            self.missing.clear()

    def clip(self) -> Frames | None:
        """All wanted frames; None if there are none, or if not all could be kept."""
        if not self.indices or not self.frames.keys() >= set(self.indices):
            return None
        return _stacked(self.frames, self.indices, self.total, self.spec)


def _indexed_frames(video: av.VideoStream) -> int:
    """How many frames a file's header and its index agree on; 0: they do not agree."""
    return video.frames if video.frames == len(video.index_entries) else 0


def _count_packets(path: Path | str) -> int:
    """How many packets of its first video stream a file has, which takes no decoding; 0: unknown.

    In most files this is the number of frames, even where the header is wrong.
    """
    unreadable = contextlib.suppress(UnreadableVideo)
    with unreadable, open_video(path) as video, blame_file("its packets cannot be read"):
        packets = cast(InputContainer, video.container).demux(video)
        return sum(packet.size > 0 for packet in packets)
    return 0


def _claimed_frames(video: av.VideoStream) -> int:
    """How many frames the header claims, at least 1; the claim is often wrong by one or two."""
    if video.frames:
        return max(1, video.frames)
    seconds = (cast(InputContainer, video.container).duration or 0) / av.time_base
    return max(1, round(seconds * float(video.average_rate or 0)))
