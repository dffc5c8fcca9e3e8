"""Clips of the latest frames of a camera, a stream or a file, as frames arrive."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from kinoflow.video.frames import UnreadableVideo, decode_frames, open_video, resize, to_rgb
from kinoflow.video.spec import ClipSpec, Frames


def stream(source: Path | str | int, spec: ClipSpec, *, every: int = 1) -> Iterator[Frames]:
    """Yield the last T frames of a source as a clip, again and again until it ends.

    Args:
        source: a file, the URL of a stream, or the number of a camera. A URL may use any protocol
            and format that FFmpeg knows, playlists included: do not open one from a stranger.
        spec: the size of the clips. Their frames are consecutive whatever `spec.sampling` says,
            because sampling needs the whole video.
        every: how many frames one clip begins after another.

    Yields uint8 RGB (T, H, W, 3), the first once T frames have come.

    Raises UnreadableVideo for a source that does not open or gives no frame.
    """
    window: deque[Frames] = deque(maxlen=spec.frames)
    for count, frame in enumerate(_frames(source), start=1):
        window.append(resize(frame, spec))
        if len(window) == spec.frames and (count - spec.frames) % every == 0:
            yield np.stack(window)


def _frames(source: Path | str | int) -> Iterator[Frames]:
    """Every frame of a file, a URL or a camera: uint8 RGB (H, W, 3)."""
    if not isinstance(source, int):
        with open_video(source, urls=True) as video:
            converter = VideoReformatter()
            for frame in decode_frames(video):
                yield to_rgb(frame, converter)
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
