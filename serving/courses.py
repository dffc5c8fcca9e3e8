"""The timeline in an answer to a request, for videos that are long but not too long."""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.system.fair_semaphore import FairSemaphore
from kinoflow.system.sandbox import Bounds, OutOfBoundsError
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import Frames
from serving.answers import Timeline
from serving.piped import Piped
from serving.refusals import Refusal
from serving.timelines import document

# takes a clip and a deadline; gives its probabilities, and how many seconds the model took
Ask = Callable[[Frames, float | None], tuple[Probabilities, float]]

_WINDOW_S = 2.0  # of a window where nothing says how long the videos were that were trained on


@dataclass(frozen=True)
class Course:
    """What is known of a video's course in time; the fields are those of an `Answer`."""

    seconds: float | None
    timeline: Timeline | None = None
    hint: str | None = None


class Courses:
    """Makes timelines within the time of a request, one at a time.

    Args:
        bundle: the labels, and the form of clips.
        ask: asks the model.
        seconds: how long a window is; None: nothing says how long videos are.
        most: how many windows a video may have.
        together: how many of them the model is asked at a time.
        bounds: how much decoding may take just now.
        streaming: a context in which one more video may be decoded.
    """

    def __init__(
        self,
        bundle: Bundle,
        ask: Ask,
        *,
        seconds: float | None,
        most: int,
        together: int,
        bounds: Callable[[], Bounds],
        streaming: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.window = seconds or _WINDOW_S
        self._bundle = bundle
        self._ask = ask
        self._most = most
        self._together = together
        self._threads = ThreadPoolExecutor(together, "timeline")
        self._bounds = bounds
        self._streaming = streaming
        self._free = FairSemaphore()

    def of(self, path: Path, seconds: float | None, deadline: float) -> Course:
        """The timeline of a video, or why it has none.

        It is what `kinoflow.timeline.timeline` gives. Where it cannot be had before the deadline,
        the hint says so: the answer for the whole video is not lost.

        Args:
            path: the video.
            seconds: how long it is by its file; None: that does not say.
            deadline: until when to work, on the clock of time.monotonic().
        """
        if seconds is None or seconds < 2 * self.window:
            return Course(seconds)
        if self._windows(seconds) > self._most:
            return Course(seconds, hint=self._too_long())
        if not self._free.acquire(1, deadline):
            return Course(seconds, hint=_late("other long videos came first"))
        try:
            with self._streaming():
                return self._timeline(path, seconds, deadline)
        except Refusal as refusal:
            return Course(seconds, hint=_late(str(refusal)))
        except (UnreadableVideo, OutOfBoundsError) as problem:
            return Course(seconds, hint=_late(str(problem)))
        finally:
            self._free.release()

    def _windows(self, seconds: float) -> int:
        """How many windows a video has that is at least two of them long."""
        frames = self._bundle.clip.frames
        step = self.window * max(1, frames // 4) / frames
        return int((seconds - self.window) / step + 1e-6) + 1

    def _timeline(self, path: Path, seconds: float, deadline: float) -> Course:
        piped = Piped(path, self._bundle.clip, self.window, self._bounds(), deadline)
        spans: list[tuple[float, float]] = []
        answers: list[Probabilities] = []
        asked: deque[Future[tuple[Probabilities, float]]] = deque()
        with contextlib.closing(piped.windows()) as windows:  # type: ignore[type-var]
            for window in windows:
                # the file may say that it is shorter than it is; one more ends with the video
                if len(spans) > self._most:
                    return Course(seconds, hint=self._too_long())
                if time.monotonic() >= deadline:
                    return Course(seconds, hint=_late("the time is up"))
                spans.append((window.start, window.end))
                asked.append(self._threads.submit(self._ask, window.clip, deadline))
                if len(asked) == self._together:
                    answers.append(asked.popleft().result()[0])
            answers += [each.result()[0] for each in asked]
        assert piped.end is not None
        made = document(self._bundle.labels, self.window, spans, answers, piped.end)
        if piped.end.seconds < 2 * self.window:
            # a video that is cut short
            return Course(made["seconds"])
        return Course(made["seconds"], Timeline.model_validate(made))

    def _too_long(self) -> str:
        return (
            f"the video has more than {self._most} windows of {self.window:g} s: send it to /jobs, "
            "which answers with its timeline"
        )


def _late(why: str) -> str:
    return f"there is no timeline ({why}): send the video to /jobs, which takes more time"
