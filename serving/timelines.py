"""Windows of a long video in one process, and its timeline in another: `kinoflow.timeline` in two.

`windows` runs in a decoder's process and `document` in the service's, where the model is. Together
they give what `kinoflow.timeline.timeline` gives.
"""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinoflow.bundle import Probabilities
from kinoflow.timeline import arranged
from kinoflow.video.clock import Clock, claimed_seconds, early_end
from kinoflow.video.decoder import sample
from kinoflow.video.frames import UnreadableVideo, decode_frames, open_video
from kinoflow.video.spec import ClipSpec, Frames
from kinoflow.video.windows import Windows

_MOST_WINDOWS = 20_000


@dataclass(frozen=True)
class Window:
    """A part of a video, and its clip."""

    start: float  # seconds since the video's first frame
    end: float  # seconds
    claimed: float  # seconds of the video by its header; 0 if that does not say
    clip: Frames  # (T, H, W, 3)


@dataclass(frozen=True)
class End:
    """How a video ends."""

    seconds: float  # until the end of the last frame that could be decoded
    problem: str  # why that is earlier than it should be; "" if it is not


def windows(path: Path, spec: ClipSpec, seconds: float) -> Generator[Window, None, End]:
    """Yield the windows of a video, in order of time, and return how it ends.

    Args:
        path: the video.
        spec: the form of the clips.
        seconds: how long a window is.

    Raises UnreadableVideo for a file that is missing, is no video, gives no frame or has too many
    windows.
    """
    count = 0
    with open_video(path) as video:
        claimed = claimed_seconds(video)
        clock = Clock(video)
        made = Windows(spec, seconds, rounding=clock.rounding)
        for frame in decode_frames(video):
            for window in made.add(clock(frame), frame):
                count += 1
                if count > _MOST_WINDOWS:
                    raise UnreadableVideo(f"it has more than {_MOST_WINDOWS:,} windows")
                yield Window(window.start, window.end, claimed or 0.0, window.clip)
        for window in made.finish(clock.end):
            count += 1
            yield Window(window.start, window.end, claimed or 0.0, window.clip)
    if not count:
        yield Window(0.0, clock.end, claimed or 0.0, sample(path, spec))
    return End(clock.end, early_end(clock.end, claimed))


def document(
    labels: tuple[str, ...],
    seconds: float,
    spans: list[tuple[float, float]],
    answers: list[Probabilities],
    end: End,
) -> dict[str, Any]:
    """What a job answers.

    Args:
        labels: of the model.
        seconds: how long a window is.
        spans: the start and the end of each window in seconds, in order of time.
        answers: (classes,) of each window.
        end: of the video.
    """
    made = arranged(
        labels,
        np.array(spans),
        np.stack(answers),
        window=seconds,
        seconds=end.seconds,
        problem=end.problem,
    )
    return made.document()
