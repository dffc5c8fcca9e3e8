"""Pictures that come as JPEG files, for /live.

`check` reads the header alone. `picture` runs in a process that decodes, and imports little.
"""

import re

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter

from kinoflow.video.frames import blame_file, resize, to_rgb
from kinoflow.video.spec import ClipSpec, Frames

MOST_BYTES = 4_000_000
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_FRAMES = {0xC0, 0xC1, 0xC2}  # headers of pictures: baseline, extended, progressive
# further headers of pictures: lossless, arithmetic, hierarchical
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # that ends the data of a scan
# the mode `motion` compares frames as they were sent, at most this large
_SIDE = 1280


class BadPicture(Exception):
    """A file that is not taken; the text says why."""


def check(data: bytes, most_pixels: float) -> None:
    """Raise BadPicture for a file that is no JPEG picture, or too large a one, by its header.

    Args:
        data: the file.
        most_pixels: that the picture may have.
    """
    if len(data) > MOST_BYTES:
        raise BadPicture(f"it is larger than {MOST_BYTES // 1_000_000} MB")
    if data[:2] != bytes([0xFF, _START]):
        raise BadPicture("it is no JPEG file")
    place, size = 2, None
    while place + 4 <= len(data):
        marker = data[place + 1]
        if data[place] != 0xFF or marker == _START:
            raise BadPicture("its header is damaged")
        if marker == 0xFF or marker in _ALONE:
            place += 1 if marker == 0xFF else 2
            continue
        if marker == _END:
            break
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in _OTHER_FRAMES or (marker in _FRAMES and size is not None):
            raise BadPicture("it is no baseline or progressive JPEG file with one picture")
        if marker in _FRAMES:
            height, width = (int.from_bytes(data[place + k : place + k + 2], "big") for k in (5, 7))
            size = height * width
            if not size or size > most_pixels:
                raise BadPicture(
                    f"its header says {width}x{height} pixels; there may be "
                    f"{most_pixels / 1e6:g} million"
                )
        place += 2 + length
        if marker == _SCAN:
            follows = _MARKER.search(data, place)
            place = follows.start() if follows else len(data)
    if size is None:
        raise BadPicture("it is no JPEG file with a picture")


def picture(data: bytes, spec: ClipSpec, most_pixels: float) -> Frames:
    """The picture in a JPEG file, uint8 RGB.

    Args:
        data: the file, which `check` has let pass.
        spec: of the model. The picture has its size, since frames are scaled to that anyway; only
            for the sampling mode `motion`, which compares frames as they are, it keeps its own.
        most_pixels: that it may have.

    Raises UnreadableVideo for a file that is damaged.
    """
    av.logging.set_level(av.logging.PANIC)
    with blame_file("it is damaged"):
        context = VideoCodecContext.create("mjpeg", "r")
        context.thread_count = 1
        # should the decoder find another header than `check` did
        context.options = {"max_pixels": str(int(most_pixels))}
        (frame,) = [*context.decode(av.Packet(data)), *context.decode(None)][:1]
    pixels = to_rgb(frame, VideoReformatter())
    if spec.sampling != "motion":
        return resize(pixels, spec)
    share = _SIDE / max(pixels.shape[:2])
    if share >= 1:
        return pixels
    with blame_file("it cannot be scaled"):
        small = cv2.resize(pixels, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)
