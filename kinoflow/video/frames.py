"""The frames of a file, decoded by FFmpeg through PyAV, in order and the right way up.

PyAV and not OpenCV: it says which frames are damaged and goes on behind them, reads AV1, and
converts interlaced frames, which OpenCV leaves unconverted without saying so.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from kinoflow.video.spec import ClipSpec, Frames

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


@contextmanager
def open_video(source: Path | str, *, urls: bool = False) -> Iterator[av.VideoStream]:
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
    with blame_file("it is no video, or one in a format that cannot be opened"):
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
def blame_file(reason: str) -> Iterator[None]:
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


def decode_frames(video: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Decode to the end, passing over what is damaged.

    Raises UnreadableVideo if there is no frame at all.
    """
    none = True
    packets = cast(InputContainer, video.container).demux(video)
    while True:
        try:
            packet = next(packets, None)
            frames = [] if packet is None else packet.decode()
        except Exception as error:  # noqa: BLE001 as in blamed, which is slow for each packet
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


def to_rgb(frame: av.VideoFrame, converter: VideoReformatter) -> Frames:
    """A decoded frame as uint8 RGB (H, W, 3), the way up that its rotation asks for."""
    pixels = convert(frame, converter, format="rgb24")
    with blame_file("it is turned by no angle"):
        quarters = frame.rotation // 90
    return np.ascontiguousarray(np.rot90(pixels, quarters), dtype=np.uint8)


def convert(frame: av.VideoFrame, converter: VideoReformatter, **target: Any) -> NDArray[Any]:
    """A decoded frame as an array, in the format and size of `target`.

    A matrix of colours that cannot be converted from is taken as unspecified. One converter for
    all frames of a video saves most of the time that converting takes.
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
    # area interpolation leaves a frame of the right size as it is
    with blame_file("its pictures cannot be scaled"):
        small = cv2.resize(frame, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
    # zero throughout is what padding is told by
    if spec.padding == "mask" and not small.any():
        return np.ones(small.shape, np.uint8)
    return np.asarray(small, dtype=np.uint8)
