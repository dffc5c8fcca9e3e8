"""Open a video, and decode, convert and scale its frames, with FFmpeg through PyAV.

PyAV rather than OpenCV, because PyAV reports damaged frames and continues after them, reads AV1,
and converts interlaced frames, which OpenCV silently leaves as they are.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from kinoflow.video import area
from kinoflow.video.spec import ClipSpec, Frames

# FFmpeg's demuxers for files that hold a video. Demuxers that read further files (playlists,
# sequences of pictures, session descriptions) or that draw text as a video are left out.
_FORMATS = (
    # what cameras, phones and editors write
    *("mov", "matroska", "avi", "mpeg", "mpegts", "flv", "asf", "asf_o", "ogg", "mxf", "gxf", "dv"),
    *("rm", "wtv", "nut", "nsv", "nuv", "swf", "dhav", "gif", "apng", "jpegxl_anim"),
    # raw streams without a container; FFmpeg takes a raw stream of JPEGs for jpeg_pipe
    *("ivf", "obu", "av1", "h261", "h263", "h264", "hevc", "vvc", "m4v", "mpegvideo", "vc1"),
    *("vc1test", "dirac", "dnxhd", "cavsvideo", "mjpeg", "jpeg_pipe", "yuv4mpegpipe"),
)
# FFmpeg may read only the file itself: neither the network nor other files that it refers to
_FILE_OPTIONS = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "file"}

# takes a video, returns what takes each of its frames
Watch = Callable[[av.VideoStream], Callable[[av.VideoFrame], None]]

_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)

_UNSPECIFIED = 2  # the colour matrix of a frame that does not name one (ISO/IEC 23091-2)


class UnreadableVideo(Exception):
    """A file that gives no frame. The text is the reason, in plain words."""


@contextmanager
def open_video(source: Path | str, *, urls: bool = False) -> Iterator[av.VideoStream]:
    """The first video stream of a source, open for the duration of the `with` block.

    Args:
        source: a file in one of the formats above.
        urls: whether `source` may also be a URL, of any protocol and in any format.

    Raises UnreadableVideo for a file that is missing, empty or no video.
    """
    options: dict[str, str] = {}
    if not urls or isinstance(source, Path) or ("://" not in source and Path(source).is_file()):
        path = Path(source)
        if not path.is_file():
            raise UnreadableVideo("there is no such file")
        if path.stat().st_size == 0:
            raise UnreadableVideo("the file is empty")
        # absolute, because FFmpeg takes the text before a colon for a protocol
        source, options = str(path.absolute()), _FILE_OPTIONS
    # FFmpeg's log says the same as UnreadableVideo, less clearly
    av.logging.set_level(av.logging.PANIC)
    with blame_file("it is no video, or one in a format that cannot be opened"):
        container = av.open(source, metadata_errors="replace", options=options)
    with container:
        if not container.streams.video:
            raise UnreadableVideo("it has no picture, only sound")
        video = container.streams.video[0]
        # the codec context can be None, although its type says otherwise
        if cast(object, video.codec_context) is None:
            raise UnreadableVideo("it opens, but its codec is unknown or damaged")
        # Several processes decode in parallel, which is faster than threads that wait for each
        # other. Also, one thread always decodes a damaged file to the same frames.
        video.codec_context.thread_count = 1
        yield video


@contextmanager
def blame_file(reason: str) -> Iterator[None]:
    """Turn what PyAV or OpenCV raises inside the block into UnreadableVideo with this `reason`.

    Put it around calls of these two libraries and nothing else. They work on a file's content, so
    an error of any class is the file's fault, but errors of our own code are not. Running out of
    memory stays a MemoryError.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 of any class, see above
        if _out_of_memory(error):
            raise MemoryError from None
        raise UnreadableVideo(reason) from None


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, av.FFmpegError):
        return bool(error.errno == errno.ENOMEM)
    if isinstance(error, cv2.error):
        return bool(error.code == cv2.Error.STS_NO_MEM)
    return isinstance(error, MemoryError)


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Have all videos that are decoded within this block looked at.

    So a service can set limits, without an argument for them in every function that decodes.

    Args:
        watch: is called with each video before anything of it is decoded, and returns what is
            called with each of its frames. What either raises ends the decoding.
    """
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def decode_frames(video: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Yield every frame of a video in order, leaving out damaged ones.

    Raises UnreadableVideo if there is no frame at all, and what `watched` says.
    """
    watch = _watch.get()
    look = watch(video) if watch else None
    found = False
    packets = cast(InputContainer, video.container).demux(video)
    while True:
        try:
            packet = next(packets, None)
            frames = [] if packet is None else packet.decode()
        except Exception as error:  # noqa: BLE001 `blame_file` is too slow for every packet
            if _out_of_memory(error):
                raise MemoryError from None
            continue
        if packet is None:
            break
        for frame in frames:
            found = True
            if look:
                look(frame)
            yield frame
    if not found:
        name = video.codec_context.codec.canonical_name
        raise UnreadableVideo(f"it opens, but no frame can be decoded (codec {name})")


def to_rgb(frame: av.VideoFrame, converter: VideoReformatter) -> Frames:
    """A decoded frame as uint8 RGB (H, W, 3), rotated as the container says.

    Raises UnreadableVideo for a frame that cannot be converted or rotated; for `converter` see
    `convert`.
    """
    pixels = convert(frame, converter, format="rgb24")
    with blame_file("its rotation is not a valid angle"):
        quarters = frame.rotation // 90
    return np.ascontiguousarray(np.rot90(pixels, quarters), dtype=np.uint8)


def convert(frame: av.VideoFrame, converter: VideoReformatter, **target: Any) -> NDArray[Any]:
    """A decoded frame as an array, in another pixel format or size.

    Args:
        frame: what the decoder gave. If its colour matrix cannot be converted from, the frame is
            marked as having an unspecified one.
        converter: the same one for all frames of a video, which saves most of the time.
        **target: the arguments of `VideoReformatter.reformat`.

    Raises UnreadableVideo for a frame that cannot be converted.
    """
    with blame_file("its pictures cannot be converted"):
        try:
            converted = converter.reformat(frame, threads=1, **target)
        except av.FFmpegError as error:
            if error.errno == errno.ENOMEM or frame.colorspace == _UNSPECIFIED:
                raise
            frame.colorspace = _UNSPECIFIED
            converted = converter.reformat(frame, threads=1, **target)
        return converted.to_ndarray()


def resize(frame: Frames, spec: ClipSpec) -> Frames:
    """A frame, uint8 (H, W, 3), scaled to the spec's size by area interpolation.

    If the spec pads with black frames, a black frame of the video becomes 1 throughout, so that
    only padding is 0 throughout.

    Raises UnreadableVideo for a frame that cannot be scaled.
    """
    with blame_file("its pictures cannot be scaled"):
        small = area.scale(frame, spec.width, spec.height)
    if spec.padding == "mask" and not small.any():
        return np.ones(small.shape, np.uint8)
    return small
