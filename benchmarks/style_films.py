"""The films that benchmarks/style.py repaints, and how it keeps what it has painted."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from benchmarks import footage
from kinoflow.style import flow
from kinoflow.style.flow import Motion
from kinoflow.system import files
from kinoflow.video.frames import decode_frames, open_video, to_rgb
from kinoflow.video.spec import Frames
from stages.sources import synthetic, truth_flow
from stages.sources.synthetic import CLASSES, SyntheticVideo

SEED = 1001  # of recordings that no pipeline has seen


@dataclass(frozen=True)
class Film:
    """A film, and how its pixels really move, or are thought to."""

    name: str
    frames: Frames  # (T, H, W, 3)
    motions: list[Motion]  # T - 1
    exact: bool  # whether the motion is the renderer's own, and not estimated


@dataclass(frozen=True)
class Painted:
    """What a way of repainting made of a film."""

    frames: Frames  # (T, H, W, 3)
    seconds: float  # by the clock
    processor: float  # seconds of processors, which others on the machine disturb less

    @property
    def pictures(self) -> NDArray[np.float32]:
        return self.frames.astype(np.float32) / np.float32(255)


def rendered(count: int, width: int, height: int) -> list[Film]:
    """Films of the embedded data, from the middle of their action: one for every second class."""
    films = []
    for label in range(0, len(CLASSES), 2):
        video = SyntheticVideo(SEED, label, 1, 1, width, height)
        frames, motions = synthetic.render(video), truth_flow.motions(video)
        first = (len(frames) - count) // 2
        films.append(
            Film(
                CLASSES[label][0],
                frames[first : first + count],
                motions[first : first + count - 1],
                exact=True,
            )
        )
    return films


def real(count: int, width: int, height: int, clips: int = 3) -> list[Film]:
    """The last real clip of each of the first classes; none without KINOFLOW_REAL_DATA.

    The last ones of a class are of recordings that published splits do not train on.
    """
    last = {path.parent.name: path for path in footage.real()}
    films = []
    for label in sorted(last)[:clips]:
        frames = np.stack(
            [
                cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
                for frame, _ in zip(_decoded(last[label]), range(count), strict=False)
            ]
        ).astype(np.uint8)
        motions = [flow.motion(*pair) for pair in pairwise(frames)]
        films.append(Film(label, frames, motions, exact=False))
    return films


def _decoded(path: Path) -> Iterator[Frames]:
    converter = VideoReformatter()
    with open_video(path) as video:
        for frame in decode_frames(video):
            yield to_rgb(frame, converter)


class Way:
    """A way of repainting films, which compiles something when it is first used.

    Args:
        paint: repaints frames, uint8 RGB (T, H, W, 3), in order.
        timed: whether its time matters, so that it is used once beforehand.
        least: seconds that are timed, at least; a film that takes less is repainted several times.
    """

    def __init__(
        self, paint: Callable[[Frames], list[Frames]], *, timed: bool = True, least: float = 0.0
    ) -> None:
        self._paint = paint
        self._least = least
        self._used = not timed

    def kept(self, path: Path, frames: Frames) -> Painted:
        """What was painted in an earlier run, or is now; compiling is not timed.

        Args:
            path: an .npz file.
            frames: uint8 RGB (T, H, W, 3).
        """
        if not path.exists():
            if not self._used:
                self._paint(frames[:1])
            self._used = True
            wall, processor, times = time.perf_counter(), time.process_time(), 0
            while not times or time.perf_counter() - wall < self._least:
                painted = np.stack(self._paint(frames))
                times += 1
            clocks = time.perf_counter() - wall, time.process_time() - processor
            taken = [clock / times for clock in clocks]
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(path) as partial, partial.open("wb") as file:
                np.savez_compressed(file, frames=painted, seconds=taken)
        with np.load(path) as found:
            seconds, processor = found["seconds"].tolist()
            return Painted(found["frames"], seconds, processor)
