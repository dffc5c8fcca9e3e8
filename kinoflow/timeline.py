"""The timeline of a video: what a model answers from moment to moment.

The command line and the service call `timeline`. `Steady` keeps the labels of a live source from
flickering, `steady_labels` those of a timeline, where the future is known.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.video.clock import Clock, claimed_seconds, early_end
from kinoflow.video.decoder import sample
from kinoflow.video.frames import decode_frames, open_video
from kinoflow.video.windows import Window, Windows

Times = NDArray[np.float64]

_ROUNDING = 1e-9  # seconds


@dataclass(frozen=True)
class Segment:
    """A stretch of a video with one label."""

    start: float  # seconds since the video's first frame
    end: float  # seconds
    label: int  # its index
    probability: float  # the mean of the smoothed probability of the label


@dataclass(frozen=True)
class Timeline:
    """What a model answers for each moment of a video. There is one moment for each window."""

    labels: tuple[str, ...]
    window: float  # seconds that a window has
    windows: Times  # (N, 2): the start and the end of each window, in seconds
    answers: Probabilities  # (N, classes): what the bundle answers for each window
    moments: Times  # (N, 2): the parts of the video's time around the windows' centres, in seconds
    probabilities: Probabilities  # (N, classes), smoothed
    shown: NDArray[np.int64]  # (N,): the index of each moment's label
    seconds: float  # until the end of the last frame that could be decoded
    problem: str  # why that is earlier than it should be; "" if it is not

    @property
    def segments(self) -> list[Segment]:
        """The moments, those beside each other joined if they have one label."""
        edges = [0, *(np.flatnonzero(np.diff(self.shown)) + 1), len(self.shown)]
        return [
            Segment(
                start=float(self.moments[first, 0]),
                end=float(self.moments[after - 1, 1]),
                label=(label := int(self.shown[first])),
                probability=float(self.probabilities[first:after, label].mean()),
            )
            for first, after in pairwise(edges)
        ]

    def at(self, seconds: float) -> int:
        """The index of the moment at this time; the first or last one outside the video."""
        index = int(np.searchsorted(self.moments[:, 1], seconds, side="right"))
        return min(index, len(self.moments) - 1)

    def document(self) -> dict[str, Any]:
        """The timeline as a JSON document; docs/predicting.md has its fields."""
        return {
            "labels": list(self.labels),
            "window_seconds": self.window,
            "seconds": round(self.seconds, 3),
            "problem": self.problem or None,
            "segments": [
                {
                    "start": round(segment.start, 3),
                    "end": round(segment.end, 3),
                    "label": self.labels[segment.label],
                    "probability": segment.probability,
                }
                for segment in self.segments
            ],
            "moments": [
                {
                    "start": round(float(start), 3),
                    "end": round(float(end), 3),
                    "label": self.labels[label],
                    "probabilities": [float(value) for value in probabilities],
                }
                for (start, end), label, probabilities in zip(
                    self.moments, self.shown, self.probabilities, strict=True
                )
            ],
        }


def timeline(
    path: Path | str,
    bundle: Bundle,
    seconds: float,
    *,
    watch: Callable[[float, float | None], None] = lambda done, claimed: None,
) -> Timeline:
    """Answer for overlapping windows of a video, each frame of which is decoded once.

    One window begins every quarter of a window. Memory does not grow with the video's length,
    except for the answers. A video that is shorter than a window has one answer, the one that
    `Bundle.predict` gives for the clip that `sample` takes of it; it is decoded once more for that.

    Args:
        path: the video.
        bundle: the model, and the form of its clips.
        seconds: how long a window is: as long as the videos that the model was trained on.
        watch: is called after each window with the seconds of the video that are done, and with
            how many it has by its header, None if that does not say. What it raises ends the work.

    Raises UnreadableVideo for a file that is missing, is no video or gives no frame. A video with
    damage has a timeline up to the last frame that can be decoded; frames in the middle that cannot
    be are left out, as everywhere.
    """
    found: list[tuple[float, float]] = []
    answers: list[Probabilities] = []

    def answer(window: Window) -> None:
        found.append((window.start, window.end))
        answers.append(bundle.predict(window.clip[None])[0])
        watch(window.end, claimed)

    with open_video(path) as video:
        claimed = claimed_seconds(video)
        clock = Clock(video)
        windows = Windows(bundle.clip, seconds, rounding=clock.rounding)
        for frame in decode_frames(video):
            for window in windows.add(clock(frame), frame):
                answer(window)
        for window in windows.finish(clock.end):
            answer(window)
    if not found:
        answer(Window(0.0, clock.end, sample(path, bundle.clip)))
    return arranged(
        bundle.labels,
        np.array(found),
        np.stack(answers),
        window=seconds,
        seconds=clock.end,
        problem=early_end(clock.end, claimed),
    )


def arranged(
    labels: tuple[str, ...],
    windows: Times,
    answers: Probabilities,
    *,
    window: float,
    seconds: float,
    problem: str = "",
) -> Timeline:
    """The timeline of answers for windows: smoothed, with labels that do not flicker.

    Args:
        labels: of the model.
        windows: (N, 2), the start and the end of each window in seconds, in order of time.
        answers: (N, classes), what the model answers for each.
        window: how long a window is, in seconds.
        seconds: how long the video is.
        problem: why that is not all of it.
    """
    centres = windows.mean(axis=1)
    between = (centres[:-1] + centres[1:]) / 2
    moments = np.stack([np.append(0.0, between), np.append(between, seconds)], axis=1)
    probabilities = smoothed(centres, answers, window / 2)
    return Timeline(
        labels=labels,
        window=window,
        windows=windows,
        answers=answers,
        moments=moments,
        probabilities=probabilities,
        shown=steady_labels(moments, probabilities, window / 2),
        seconds=seconds,
        problem=problem,
    )


def smoothed(centres: Times, answers: Probabilities, reach: float) -> Probabilities:
    """Answers averaged with those before and after them.

    Args:
        centres: (N,), the time of each answer in seconds, ascending.
        answers: (N, classes).
        reach: how far an answer counts, in seconds: fully at its own time, and less and less up
            to there.

    Returns float32 (N, classes).
    """
    sums = np.array(answers, dtype=np.float64)
    weights = np.ones((len(centres), 1))
    for apart in range(1, len(centres)):
        weight = np.maximum(0, 1 - (centres[apart:] - centres[:-apart]) / reach)[:, None]
        if not weight.any():
            break
        sums[apart:] += weight * answers[:-apart]
        sums[:-apart] += weight * answers[apart:]
        weights[apart:] += weight
        weights[:-apart] += weight
    return (sums / weights).astype(np.float32)


class Steady:
    """The label to show while answers come: it changes once it has not led for some time.

    So a label is shown for that long at least, and the one that leads then follows it.

    Args:
        hold: for how many seconds.
    """

    def __init__(self, hold: float) -> None:
        self.hold = hold
        self.label: int | None = None
        self._behind: float | None = None  # since when the label has not led

    def __call__(self, time: float, probabilities: Probabilities) -> int:
        """The index of the label to show after an answer.

        Args:
            time: of the answer, in seconds.
            probabilities: (classes,).
        """
        leader = int(probabilities.argmax())
        if self.label is None or leader == self.label:
            self.label, self._behind = leader, None
            return self.label
        if self._behind is None:
            self._behind = time
        if time - self._behind >= self.hold - _ROUNDING:
            self.label, self._behind = leader, None
        return self.label


def steady_labels(moments: Times, probabilities: Probabilities, hold: float) -> NDArray[np.int64]:
    """The index of the label of each moment, (N,); none is shown for less than `hold` seconds.

    A label that leads for so long is shown from when it takes the lead. Where labels take turns
    more quickly, the stretch gets one label: the one with the highest mean, or, if the stretch is
    itself shorter, whichever of its neighbours has the higher mean.

    Args:
        moments: (N, 2), their start and end in seconds.
        probabilities: (N, classes).
        hold: in seconds. A video that is shorter has one label.
    """
    leaders = probabilities.argmax(axis=1)
    edges = [0, *(np.flatnonzero(np.diff(leaders)) + 1).tolist(), len(leaders)]

    def holds(first: int, after: int) -> bool:
        return bool(moments[after - 1, 1] - moments[first, 0] >= hold - _ROUNDING)

    # the labels that lead for long, and between them None, where no label does
    stretches: list[tuple[int, int, int | None]] = []
    for first, after in pairwise(edges):
        if holds(first, after):
            stretches.append((first, after, int(leaders[first])))
        elif stretches and stretches[-1][2] is None:
            stretches[-1] = (stretches[-1][0], after, None)
        else:
            stretches.append((first, after, None))
    shown = np.empty(len(leaders), dtype=np.int64)
    for number, (first, after, leader) in enumerate(stretches):
        mean = probabilities[first:after].mean(axis=0)
        around = stretches[max(0, number - 1) : number + 2]
        beside = [label for _, _, label in around if label is not None]
        if leader is not None:
            shown[first:after] = leader
        elif beside and not holds(first, after):
            shown[first:after] = max(beside, key=lambda label: mean[label])
        else:
            shown[first:after] = mean.argmax()
    return shown
