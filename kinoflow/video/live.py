"""The frames of a camera, a stream or a file, as they arrive."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from kinoflow.video.clock import Clock
from kinoflow.video.frames import UnreadableVideo, decode_frames, open_video, resize, to_rgb
from kinoflow.video.spec import ClipSpec, Frames

_ROOM = 8  # frames that wait for a slow reader


def stream(source: Path | str | int, spec: ClipSpec, *, every: int = 1) -> Iterator[Frames]:
    """Yield the last T frames of a source as a clip, again and again until it ends.

    Args:
        source: a file, the URL of a stream, or the number of a camera. A URL may use any protocol
            and format that FFmpeg knows, playlists included: do not open one from a stranger.
        spec: the size of the clips. Their frames are consecutive whatever `spec.sampling` says,
            because sampling needs the whole video; `kinoflow.video.windows` spaces them in time.
        every: how many frames one clip begins after another.

    Yields uint8 RGB (T, H, W, 3), the first once T frames have come.

    Raises UnreadableVideo for a source that does not open or gives no frame.
    """
    window: deque[Frames] = deque(maxlen=spec.frames)
    converter = VideoReformatter()
    for count, (_, frame) in enumerate(timed(source), start=1):
        window.append(resize(to_rgb(frame, converter), spec))
        if len(window) == spec.frames and (count - spec.frames) % every == 0:
            yield np.stack(window)


def timed(source: Path | str | int) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield every frame of a source with its time, in seconds since the first frame.

    Args:
        source: as for `stream`. The frames of a camera have the time of their arrival.

    Raises UnreadableVideo for a source that does not open or gives no frame.
    """
    if isinstance(source, int):
        yield from _camera(source)
        return
    with open_video(source, urls=True) as video:
        clock = Clock(video)
        for frame in decode_frames(video):
            yield clock(frame), frame


def _camera(number: int) -> Iterator[tuple[float, av.VideoFrame]]:
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise UnreadableVideo(f"there is no camera {number}")
        first: float | None = None
        while True:
            decoded, picture = camera.read()
            if not decoded:
                return
            now = time.monotonic()
            first = now if first is None else first
            yield (
                now - first,
                av.VideoFrame.from_ndarray(np.asarray(picture, dtype=np.uint8), format="bgr24"),
            )
    finally:
        camera.release()


def latest(
    frames: Iterator[tuple[float, av.VideoFrame]],
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield the frames of a live source, and leave out old ones where the reader is too slow.

    A thread reads the source, so that its frames do not wait in a buffer that grows. No more than
    8 frames wait.

    Args:
        frames: what `timed` gives.

    Raises what `frames` raises.
    """
    waiting: deque[tuple[float, av.VideoFrame]] = deque(maxlen=_ROOM)
    news = threading.Condition()
    ended: list[BaseException | None] = []
    stop = threading.Event()

    def read() -> None:
        problem: BaseException | None = None
        try:
            for item in frames:
                with news:
                    waiting.append(item)
                    news.notify()
                if stop.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 the reader raises it
            problem = error
        with news:
            ended.append(problem)
            news.notify()

    threading.Thread(target=read, name="live source", daemon=True).start()
    try:
        while True:
            with news:
                # short waits, so that Ctrl-C is heard
                while not waiting and not ended:
                    news.wait(0.5)
                if not waiting:
                    if (problem := ended[0]) is not None:
                        raise problem
                    return
                item = waiting.popleft()
            yield item
    finally:
        stop.set()
