"""Classify a camera, a stream or a file while its frames arrive."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import av
import numpy as np

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.timeline import Steady
from kinoflow.video.spec import Frames
from kinoflow.video.windows import Window, Windows


@dataclass(frozen=True)
class Answer:
    """What the model answers at one time."""

    time: float  # seconds since the source's first frame, at the end of what was looked at
    probabilities: Probabilities  # (classes,)


@dataclass(frozen=True)
class Moment:
    """A frame of a live source, and what is to be shown with it."""

    time: float  # of the frame, in seconds since the first
    frame: av.VideoFrame
    answers: tuple[Answer, ...]  # those that came with this frame, smoothed
    label: int | None  # the index of the label to show; None before the first answer
    probability: float  # of that label, smoothed


class Answering:
    """Gives a model the frames of a source as they arrive, spaced in time as in training.

    The first answer comes once the source has lasted for a window. A causal model (movinet) reads
    frame by frame and answers from all that it remembers; any other model answers for the latest
    window.

    Args:
        bundle: the model, and the form of its clips.
        seconds: how long a window is: as long as the videos that the model was trained on.
        every: how many of a window's T frames there are from one answer to the next; a quarter of
            them if None.
        memory: how many frames of the grid a causal model remembers, at least; at most it
            remembers about twice as many.
        reader: a causal model's, from a source before, which is forgotten; it has a memory of its
            own. None: a new one.
        answers: asks the model, for programs in which others use it too; `Bundle.predict` if None.
        turn: is entered around each use of a causal model. What it raises leaves out that frame.
    """

    def __init__(
        self,
        bundle: Bundle,
        seconds: float,
        *,
        every: int | None = None,
        memory: int = 256,
        reader: "Reader | None" = None,
        answers: Callable[[Frames], Probabilities] | None = None,
        turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._ask = answers or bundle.predict
        self._turn = turn
        self._wanted = bundle.clip.frames
        self._every = every or max(1, self._wanted // 4)
        self.reader: Reader | None = None
        if is_causal(bundle):
            # the model reads frames as far apart as those that it takes of a clip
            self._step = max(1, self._wanted // bundle.description.frames)
            if reader is not None:
                reader.forget()
            self.reader = reader or Reader(bundle, -(-memory // self._step))
            one = replace(bundle.clip, frames=1, sampling="uniform")
            self._windows = Windows(one, seconds / self._wanted, every=1)
            self._frames = 0
        else:
            self._windows = Windows(bundle.clip, seconds, every=self._every)

    def add(self, time: float, frame: av.VideoFrame) -> Iterator[Answer]:
        """Take the next frame, and yield the answers that the time before it allows.

        Args:
            time: of the frame, in seconds since the first.
            frame: as decoded.

        Raises UnreadableVideo for a frame that cannot be converted.
        """
        yield from self._answers(self._windows.add(time, frame))

    def finish(self, end: float) -> Iterator[Answer]:
        """Yield the answers for the last frame, which ends at `end` seconds."""
        yield from self._answers(self._windows.until(end))

    def _answers(self, windows: Iterable[Window]) -> Iterator[Answer]:
        for window in windows:
            if self.reader is None:
                yield Answer(window.end, self._ask(window.clip[None])[0])
                continue
            self._frames += 1
            if self._frames % self._step == 0:
                with self._turn():
                    self.reader.read(window.clip[0])
            past = self._frames - self._wanted
            if past >= 0 and past % self._every == 0 and self.reader.prediction is not None:
                yield Answer(window.end, self.reader.prediction)


def moments(
    answering: Answering, frames: Iterable[tuple[float, av.VideoFrame]], hold: float
) -> Iterator[Moment]:
    """Yield every frame of a source with the label to show, as `Smoothing` gives it.

    Args:
        answering: what answers.
        frames: the source's, as `kinoflow.video.live.timed` gives them.
        hold: in seconds; 0: each answer is shown as it is.

    Raises UnreadableVideo as the source does.
    """
    smooth = Smoothing(hold)
    last: Moment | None = None
    between = 0.0
    for time, frame in frames:
        if last is not None:
            between = time - last.time
            yield last
        answers = smooth(answering.add(time, frame))
        last = Moment(time, frame, answers, smooth.label, smooth.probability)
    if last is not None:
        answers = last.answers + smooth(answering.finish(last.time + between))
        yield Moment(last.time, last.frame, answers, smooth.label, smooth.probability)


class Smoothing:
    """Answers without noise, and the label to show, which does not flicker.

    Answers are averaged over the last `hold` seconds. The label changes once it has not led for so
    long (`kinoflow.timeline.Steady`).

    Args:
        hold: in seconds; 0: each answer is shown as it is.
    """

    def __init__(self, hold: float) -> None:
        self._hold = hold
        self._recent: deque[Answer] = deque()
        self._steady = Steady(hold)
        self.label: int | None = None  # the index of the label to show; None before any answer
        self.probability = 0.0  # of that label, smoothed

    def __call__(self, answers: Iterable[Answer]) -> tuple[Answer, ...]:
        """Take answers in order of time, and return them smoothed."""
        found = []
        for answer in answers:
            self._recent.append(answer)
            while self._recent[0].time <= answer.time - max(self._hold, 1e-9):
                self._recent.popleft()
            recent = np.stack([one.probabilities for one in self._recent])
            mean: Probabilities = recent.mean(axis=0)
            self.label = self._steady(answer.time, mean)
            self.probability = float(mean[self.label])
            found.append(Answer(answer.time, mean))
        return tuple(found)


def is_causal(bundle: Bundle) -> bool:
    """Whether a bundle's model is causal: it then reads a source frame by frame.

    A form of a causal model has no state from frame to frame: it answers for windows.
    """
    if not bundle.is_network:
        return False
    # first, since it imports Keras without its messages
    model = bundle.model
    from kinoflow.models.streaming import can_stream

    return can_stream(model)


class Reader:
    """Reads a video with a causal model that forgets old frames.

    The model has two states, and both take in every frame. After every `memory` frames the older
    state, which predicts, is reset and becomes the newer one. So the state that predicts has read
    at least the last `memory` frames, unless the video has fewer so far.

    Args:
        bundle: the model.
        memory: how many frames it remembers, at least.
    """

    def __init__(self, bundle: Bundle, memory: int) -> None:
        from kinoflow.models.streaming import Stream

        self._bundle = bundle
        self._mirrorings = bundle.mirrorings
        count = len(self._mirrorings)
        self._older, self._newer = slice(0, count), slice(count, 2 * count)
        self._stream = Stream(bundle.model, videos=2 * count)
        self._memory = memory
        self._frames = 0
        self.prediction: Probabilities | None = None  # (classes,) after the last frame

    def forget(self) -> None:
        """Forget all frames, so that another video can begin."""
        self._stream.reset()
        self._frames = 0
        self.prediction = None

    def read(self, frame: Frames) -> None:
        """Take the next frame, uint8 (H, W, 3)."""
        if self._frames and self._frames % self._memory == 0:
            self._older, self._newer = self._newer, self._older
            self._stream.reset(self._newer)
        self._frames += 1
        views = [frame[:, columns] for columns in self._mirrorings]
        probabilities = self._stream(np.stack(views * 2))
        pooled = probabilities[self._older].mean(axis=0, keepdims=True)
        self.prediction = self._bundle.calibrated(pooled)[0]
