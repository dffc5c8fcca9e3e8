"""The one decoder: training, evaluation, the command line and the service read videos here.

Files are decoded by FFmpeg through PyAV: it says which frames are damaged and goes on behind
them, reads AV1, and converts interlaced frames, which OpenCV leaves unconverted without saying
so. Cameras are OpenCV's.
"""

import errno
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, get_args

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from kinoflow.sampling import frame_indices as frame_indices  # imported from here as well
from kinoflow.sampling import motion_indices, segment_indices

Frames = NDArray[np.uint8]
Sampling = Literal["uniform", "segment", "motion"]
Padding = Literal["repeat", "mask"]

_SMALL = 64  # pixels: the side of the pictures that are compared to see where it moves

# Of FFmpeg's demuxers, those of files that hold a film, and nothing that reads other files as
# well (playlists, sequences of pictures, descriptions of sessions) or makes a film out of a text.
_FORMATS = (
    # what cameras, phones and editors write
    *("mov", "matroska", "avi", "mpeg", "mpegts", "flv", "asf", "asf_o", "ogg", "mxf", "gxf", "dv"),
    *("rm", "wtv", "nut", "nsv", "nuv", "swf", "dhav", "gif", "apng", "jpegxl_anim"),
    # streams without a container; jpeg_pipe is what a raw stream of JPEGs is taken for
    *("ivf", "obu", "av1", "h261", "h263", "h264", "hevc", "vvc", "m4v", "mpegvideo", "vc1"),
    *("vc1test", "dirac", "dnxhd", "cavsvideo", "mjpeg", "jpeg_pipe", "yuv4mpegpipe"),
)
# whatever a file says, it is all that is read: no other protocol, so no network
_OF_FILES = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "file"}

_UNSPECIFIED = 2  # the matrix of a frame that does not say which one it is of (ISO/IEC 23091-2)


class UnreadableVideo(Exception):
    """The file gives no frame. Its text is the reason, in words for a person."""


@dataclass(frozen=True)
class ClipSpec:
    """What a clip is: how many frames, their size in pixels, and how they are chosen."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    frames: int
    height: int
    width: int
    sampling: Sampling = "uniform"  # which frames of a video: see kinoflow/sampling.py
    padding: Padding = "repeat"  # what a video with too few is filled up with: see `sample`

    def __post_init__(self) -> None:
        for name in ("frames", "height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, known in (("sampling", get_args(Sampling)), ("padding", get_args(Padding))):
            if getattr(self, name) not in known:
                raise ValueError(f"no {name} {getattr(self, name)!r}; there are {', '.join(known)}")

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
    codec: str  # as FFmpeg names it: mpeg4, h264, av1


def probe(path: Path | str) -> VideoInfo:
    """Decode a video to its end and say what it holds.

    Raises UnreadableVideo for a file that is missing, is no video or gives no frame.
    """
    frames, size, kind = 0, (0, 0), None
    with _opened(path) as video:
        for frame in _decoded(video):
            before, kind = kind, (frame.width, frame.height, frame.format.name, frame.colorspace)
            if kind != before:
                # takes most of the memory that sampling will, and may be what cannot be done:
                # both have to be found out here
                pixels = _pixels(frame, VideoReformatter())
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


def stream(source: Path | str | int, spec: ClipSpec, *, every: int = 1) -> Iterator[Frames]:
    """Yield the clip of the latest frames, every `every` frames, while a source goes on.

    `source` is a file, the URL of a stream or the number of a camera; a URL may be of any
    protocol and format that FFmpeg knows, playlists too, so it should not be a stranger's.
    Each clip is uint8 RGB (T, H, W, 3) and holds the last T frames; the first comes once T frames
    have been seen. They follow each other whatever `spec.sampling` says, since what is to come is
    not known.

    Raises UnreadableVideo for a source that does not open or gives no frame.
    """
    window: deque[Frames] = deque(maxlen=spec.frames)
    for seen, frame in enumerate(_pictures(source), start=1):
        window.append(_resized(frame, spec))
        if len(window) == spec.frames and (seen - spec.frames) % every == 0:
            yield np.stack(window)


def runs(path: Path | str, starts: Collection[int], spec: ClipSpec) -> Iterator[Frames]:
    """Yield the `spec.frames` consecutive frames from each of the indices `starts`, in order.

    Each run is uint8 RGB (T, H, W, 3); runs may overlap. Raises UnreadableVideo for a file that
    is missing, is no video or ends before a run does.
    """
    wanted = {start + offset for start in starts for offset in range(spec.frames)}
    window: deque[Frames] = deque(maxlen=spec.frames)
    converter, last = VideoReformatter(), max(wanted, default=-1)
    with _opened(path) as video:
        for index, frame in enumerate(_decoded(video)):
            if index in wanted:
                window.append(_resized(_pixels(frame, converter), spec))
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
    with _opened(path) as video:
        return np.fromiter(_differences(video), np.float32)


def _differences(video: av.VideoStream) -> Iterator[float]:
    converter, before = VideoReformatter(), None
    for frame in _decoded(video):
        small = _converted(
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
    with _opened(path) as video:
        wanted = set(choose(total or _claimed(video)).tolist())
        converter = VideoReformatter()
        for index, frame in enumerate(_decoded(video)):
            if index in wanted:
                kept[index] = _resized(_pixels(frame, converter), spec)
            count = index + 1
    return count, kept


@contextmanager
def _opened(source: Path | str, *, urls: bool = False) -> Iterator[av.VideoStream]:
    """The first video stream of a file, or of a URL, in any format, where those are welcome."""
    options: dict[str, str] = {}
    if not urls or isinstance(source, Path) or ("://" not in source and Path(source).is_file()):
        path = Path(source)
        if not path.is_file():
            raise UnreadableVideo("there is no such file")
        if path.stat().st_size == 0:
            raise UnreadableVideo("the file is empty")
        # from the root, since FFmpeg takes what comes before a colon for a protocol
        source, options = str(path.absolute()), _OF_FILES
    # what it logs repeats, less clearly, what the reasons given here say
    av.logging.set_level(av.logging.PANIC)
    with _blamed("it is no video, or one in a format that cannot be opened"):
        container = av.open(source, metadata_errors="replace", options=options)
    with container:
        if not container.streams.video:
            raise UnreadableVideo("it has no picture, only sound")
        video = container.streams.video[0]
        # whatever its type says
        if cast(object, video.codec_context) is None:
            raise UnreadableVideo("it opens, but its codec is unknown or damaged")
        # processes that decode side by side are faster than threads that wait for each other,
        # and how a damaged file decodes does not depend on the number of threads
        video.codec_context.thread_count = 1
        yield video


@contextmanager
def _blamed(reason: str) -> Iterator[None]:
    """Make UnreadableVideo, with `reason`, of whatever is raised inside, and MemoryError of that.

    It goes around calls of PyAV and OpenCV, and of nothing else: they are given a file, so what
    they raise, of whichever class, is the file's doing. A mistake of ours must not pass for one.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 see above
        if _out_of_memory(error):
            raise MemoryError from None
        raise UnreadableVideo(reason) from None


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, av.FFmpegError):
        return bool(error.errno == errno.ENOMEM)
    if isinstance(error, cv2.error):
        return bool(error.code == cv2.Error.STS_NO_MEM)
    return isinstance(error, MemoryError)


def _decoded(video: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Decode to the end, passing over what is damaged.

    Raises UnreadableVideo if there is no frame at all.
    """
    none = True
    packets = cast(InputContainer, video.container).demux(video)
    while True:
        try:
            packet = next(packets, None)
            frames = [] if packet is None else packet.decode()
        except Exception as error:  # noqa: BLE001 as in _blamed, which is slow for each packet
            if _out_of_memory(error):
                raise MemoryError from None
            continue
        if packet is None:
            break
        for frame in frames:
            none = False
            yield frame
    if none:
        name = video.codec_context.codec.canonical_name
        raise UnreadableVideo(f"it opens, but no frame can be decoded (codec {name})")


def _pictures(source: Path | str | int) -> Iterator[Frames]:
    """Every frame of a file, a URL or a camera, uint8 RGB (H, W, 3)."""
    if not isinstance(source, int):
        with _opened(source, urls=True) as video:
            converter = VideoReformatter()
            for frame in _decoded(video):
                yield _pixels(frame, converter)
        return
    camera = cv2.VideoCapture(source)
    try:
        if not camera.isOpened():
            raise UnreadableVideo(f"there is no camera {source}")
        while True:
            decoded, picture = camera.read()
            if not decoded:
                return
            yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    finally:
        camera.release()


def _pixels(frame: av.VideoFrame, converter: VideoReformatter) -> Frames:
    """A decoded frame as uint8 RGB (H, W, 3), the way up that its rotation asks for."""
    pixels = _converted(frame, converter, format="rgb24")
    with _blamed("it is turned by no angle"):
        quarters = frame.rotation // 90
    return np.ascontiguousarray(np.rot90(pixels, quarters), dtype=np.uint8)


def _converted(frame: av.VideoFrame, converter: VideoReformatter, **target: Any) -> NDArray[Any]:
    """A decoded frame as an array, in the format and size of `target`.

    A matrix of colours that cannot be converted from is taken as unspecified. One converter for
    all frames of a video saves most of the time that converting takes.
    """
    with _blamed("its pictures cannot be converted"):
        try:
            converted = converter.reformat(frame, threads=1, **target)
        except av.FFmpegError as error:
            if error.errno == errno.ENOMEM or frame.colorspace == _UNSPECIFIED:
                raise
            frame.colorspace = _UNSPECIFIED
            converted = converter.reformat(frame, threads=1, **target)
        return converted.to_ndarray()


def _resized(frame: Frames, spec: ClipSpec) -> Frames:
    # area interpolation leaves a frame of the right size as it is
    with _blamed("its pictures cannot be scaled"):
        small = cv2.resize(frame, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
    # zero throughout is what padding is told by
    if spec.padding == "mask" and not small.any():
        return np.ones(small.shape, np.uint8)
    return np.asarray(small, dtype=np.uint8)


def _claimed(video: av.VideoStream) -> int:
    """How many frames there are by the header, which is often wrong by one or two; at least 1."""
    if video.frames:
        return max(1, video.frames)
    seconds = (cast(InputContainer, video.container).duration or 0) / av.time_base
    return max(1, round(seconds * float(video.average_rate or 0)))
