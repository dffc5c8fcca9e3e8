"""The model's calls: what waits is answered together, on every core or on the GPU.

A request brings the views of one clip. A *lane* is a thread that calls the model. On a GPU there is
one lane, and a call takes the views of several clips, since the GPU computes them in little more
time than those of one. On a CPU there is a lane for each core, and each call computes on one core:
cores that share the work of one call spend a good part of their time waiting for each other.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from kinoflow.bundle import Probabilities
from kinoflow.video.spec import Frames

_TRIES = 3  # of a size, of which the quickest counts
_GAIN = 0.97  # by how much a larger size must be quicker

Forward = Callable[[Frames], Probabilities]


class NeverFreeError(Exception):
    """The deadline passed before the model was free."""


class OverfullError(Exception):
    """As many clips as may wait are waiting."""


@dataclass(eq=False)
class _Clip:
    """The views of one clip, and what the lanes have answered so far."""

    views: Frames  # (views, frames, H, W, 3)
    answers: Probabilities | None = None  # (views, classes), filled as its calls return
    left: int = 0  # views that are not answered yet
    begun: float = 0.0  # when its first view was taken, in seconds of time.monotonic(); 0: not yet
    ended: float = 0.0
    failure: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class _View:
    """One of the views of a clip, which may be answered in another call than the others."""

    clip: _Clip
    number: int


class Batcher:
    """Calls a model for many threads.

    Clips are answered in the order of their arrival. If a call for several clips fails, each of
    them is answered alone, so that an error stays with its own clip.

    Args:
        forward: the model, uint8 (B, frames, H, W, 3) to float32 (B, classes); may be called by
            `lanes` threads at a time.
        lanes: how many calls there are at a time.
        most_views: how many views one call may take.
        least_views: how many views one call takes, where so many wait: fewer would take as long.
        most_waiting: how many clips may wait.
        wait_s: for how many seconds a call waits for more clips, while `expected` says that some
            are on their way.
        expected: how many clips are on their way, besides those that wait here.
    """

    def __init__(
        self,
        forward: Forward,
        *,
        lanes: int,
        most_views: int,
        most_waiting: int,
        least_views: int = 1,
        wait_s: float = 0.0,
        expected: Callable[[], int] = lambda: 0,
    ) -> None:
        self._forward = forward
        self._lanes = lanes
        self._most_views = most_views
        self._least_views = least_views
        self._most_waiting = most_waiting
        self._wait_s = wait_s
        self._expected = expected
        self._changed = threading.Condition()
        self._waiting: deque[_View] = deque()
        self._clips = 0  # that wait, or are being answered
        self._idle = 0  # lanes
        self._ending = False
        for number in range(lanes):
            threading.Thread(target=self._work, name=f"model {number}", daemon=True).start()

    def __call__(
        self, views: Frames, deadline: float | None = None
    ) -> tuple[Probabilities, float, float]:
        """Probabilities (views, classes) of the views of a clip, (views, frames, H, W, 3).

        Also returns the seconds that the clip waited, and those that the model took.

        Args:
            views: of one clip.
            deadline: until when to wait for the model, on the clock of time.monotonic(); None:
                without end.

        Raises NeverFreeError if no lane was free before the deadline, OverfullError if too many
        clips wait, and whatever the model raises for these views alone.
        """
        clip = _Clip(views, left=len(views))
        came = time.monotonic()
        with self._changed:
            if self._clips >= self._most_waiting:
                raise OverfullError
            self._clips += 1
            self._waiting.extend(_View(clip, number) for number in range(len(views)))
            self._changed.notify(min(self._lanes, len(views)))
        try:
            self._wait_for(clip, deadline)
        finally:
            with self._changed:
                self._clips -= 1
        if clip.failure is not None:
            raise clip.failure
        assert clip.answers is not None
        return clip.answers, clip.begun - came, clip.ended - clip.begun

    def close(self) -> None:
        """End the lanes once they have answered what waits; no more may be asked."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """How many views no lane has taken yet."""
        return len(self._waiting)

    def _wait_for(self, clip: _Clip, deadline: float | None) -> None:
        if clip.done.wait(None if deadline is None else max(0.0, deadline - time.monotonic())):
            return
        with self._changed:
            if not clip.begun:
                self._drop(clip)
                raise NeverFreeError
        # the model never takes long, and what is computed already is not thrown away
        clip.done.wait()

    def _work(self) -> None:
        while views := self._next():
            try:
                self._answer(views)
            except Exception as error:  # noqa: BLE001 of the model; the lane goes on
                self._apart(views, error)

    def _next(self) -> list[_View]:
        """The views for the next call of a lane; none once there will be no more."""
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self._ending)
            if not self._waiting:
                return []
            if self._lanes == 1:
                self._wait_for_more()
            # what waits is shared among the lanes that have nothing to do, this one included
            share = -(-len(self._waiting) // self._idle)
            self._idle -= 1
            count = min(max(share, self._least_views), self._most_views, len(self._waiting))
            views = [self._waiting.popleft() for _ in range(count)]
            now = time.monotonic()
            for view in views:
                view.clip.begun = view.clip.begun or now
            return views

    def _wait_for_more(self) -> None:
        until = time.monotonic() + self._wait_s
        while len(self._waiting) < self._most_views and self._expected():
            left = until - time.monotonic()
            if left <= 0 or not self._changed.wait(left):
                return

    def _answer(self, views: list[_View]) -> None:
        answers = self._forward(np.stack([view.clip.views[view.number] for view in views]))
        for view, answer in zip(views, answers, strict=True):
            self._keep(view, answer)

    def _apart(self, views: list[_View], error: Exception) -> None:
        """Answer the views of a call that failed, each in a call of its own."""
        for view in views:
            try:
                if len(views) == 1:
                    raise error
                self._answer([view])
            except Exception as own:  # noqa: BLE001 it is raised where the clip came from
                with self._changed:
                    view.clip.failure = own
                    # its other views are not worth a call
                    self._drop(view.clip)
                view.clip.done.set()

    def _drop(self, clip: _Clip) -> None:
        """Have no lane take the views of a clip that still wait."""
        self._waiting = deque(view for view in self._waiting if view.clip is not clip)

    def _keep(self, view: _View, answer: Probabilities) -> None:
        clip = view.clip
        with self._changed:
            if clip.answers is None:
                clip.answers = np.empty((len(clip.views), len(answer)), answer.dtype)
            clip.answers[view.number] = answer
            clip.left -= 1
            clip.ended = time.monotonic()
        if not clip.left:
            clip.done.set()


def best_views(forward: Forward, views: Frames, most_clips: int) -> int:
    """How many views one call of a model should take, so that each takes the least time.

    Small models answer several in hardly more time than one. Large ones answer each more slowly on
    a CPU, since several together do not fit into its caches. So it is measured.

    Args:
        forward: the model.
        views: those of a clip, (views, frames, H, W, 3).
        most_clips: a call takes at most so many times those views.
    """
    sizes = [1]
    while sizes[-1] < most_clips * len(views):
        sizes.append(min(2 * sizes[-1], most_clips * len(views)))
    best, least = 1, float("inf")
    for size in sizes:
        batch = np.resize(views, (size, *views.shape[1:]))
        forward(batch)  # the first call compiles, or chooses how to compute
        each = min(_seconds(forward, batch) for _ in range(_TRIES)) / size
        if each < _GAIN * least:
            best, least = size, each
    return best


def _seconds(forward: Forward, batch: Frames) -> float:
    begun = time.monotonic()
    forward(batch)
    return time.monotonic() - begun
