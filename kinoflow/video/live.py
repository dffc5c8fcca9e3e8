"""What a camera, a stream or a file shows while it goes on."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from kinoflow.video.frames import UnreadableVideo, decode_frames, open_video, resize, to_rgb
from kinoflow.video.spec import ClipSpec, Frames


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
        window.append(resize(frame, spec))
        if len(window) == spec.frames and (seen - spec.frames) % every == 0:
            yield np.stack(window)


def _pictures(source: Path | str | int) -> Iterator[Frames]:
    """Every frame of a file, a URL or a camera, uint8 RGB (H, W, 3)."""
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
