"""The timeline of a long video: the windows that it is cut into, and what is answered of them.

`windows` runs in a decoder's process and `document` in the service's, where the model is.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

from kinoflow.bundle import Probabilities
from kinoflow.video.decoder import index_rule, sample
from kinoflow.video.frames import UnreadableVideo, decode_frames, open_video, resize, to_rgb
from kinoflow.video.spec import ClipSpec, Frames

_OVERLAP = 4  # windows that see each moment
_RATE = 25.0  # frames per second where the video does not say
_MOST_FRAMES = 4096  # of a window
_MOST_WINDOWS = 20_000


@dataclass(frozen=True)
class Window:
    """A part of a video, and its clip."""

    start: float  # seconds since the video's first frame
    end: float  # seconds
    claimed: float  # seconds of the video by its header; 0 if that does not say
    clip: Frames  # (T, H, W, 3)


def windows(path: Path, spec: ClipSpec, seconds: float) -> Iterator[Window]:
    """Yield overlapping windows of a video, in order of time; each frame is decoded once.

    One window begins every quarter of a window, and the last one ends with the video. A window's
    clip is sampled from its frames as the clip of a whole video, but evenly where the spec says
    `motion`. A video that is shorter than a window is one window, and its clip that of `sample`.

    Args:
        path: the video.
        spec: the form of the clips.
        seconds: how long a window is.

    Raises UnreadableVideo for a file that is missing, is no video, gives no frame or has too many
    windows.
    """
    rule = index_rule(spec) or index_rule(replace(spec, sampling="uniform"))
    assert rule is not None
    with open_video(path) as video:
        rate = float(video.average_rate or _RATE)
        claimed = float((video.duration or 0) * (video.time_base or 0))
        size = min(_MOST_FRAMES, max(1, round(seconds * rate)))
        step = max(1, size // _OVERLAP)
        indices = rule(size)
        kept: deque[Frames] = deque(maxlen=size)
        converter, count, last = VideoReformatter(), 0, 0

        def window() -> Window:
            clip = np.stack([kept[index] for index in indices])
            if spec.padding == "mask":
                clip[size:] = 0
            return Window((count - size) / rate, count / rate, claimed, clip)

        for count, frame in enumerate(decode_frames(video), start=1):
            kept.append(resize(to_rgb(frame, converter), spec))
            if count >= size and (count - size) % step == 0:
                if (count - size) // step >= _MOST_WINDOWS:
                    raise UnreadableVideo(f"it has more than {_MOST_WINDOWS:,} windows")
                last = count
                yield window()
        if count > last and count >= size:
            yield window()
    if count < size:
        yield Window(0.0, count / rate, claimed, sample(path, spec))


def document(
    labels: tuple[str, ...],
    seconds: float,
    spans: list[tuple[float, float]],
    answers: list[Probabilities],
) -> dict[str, Any]:
    """What a job answers.

    Args:
        labels: of the model.
        seconds: how long a window is.
        spans: the start and the end of each window in seconds, in order of time.
        answers: (classes,) of each window.
    """
    centres = [(start + end) / 2 for start, end in spans]
    length = spans[-1][1]
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(centres)), length]
    moments = [
        {
            "start": round(edges[number], 3),
            "end": round(edges[number + 1], 3),
            "label": labels[int(answer.argmax())],
            "probabilities": answer.tolist(),
        }
        for number, answer in enumerate(answers)
    ]
    segments = []
    for label, group in groupby(moments, key=lambda moment: moment["label"]):
        run = [*group]
        likely = [moment["probabilities"][labels.index(label)] for moment in run]
        segments.append(
            {
                "start": run[0]["start"],
                "end": run[-1]["end"],
                "label": label,
                "probability": sum(likely) / len(likely),
            }
        )
    return {
        "labels": [*labels],
        "window_seconds": seconds,
        "seconds": round(length, 3),
        "segments": segments,
        "moments": moments,
    }
