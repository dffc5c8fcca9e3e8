"""What a model says of a camera, a stream or a file while it goes on."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.video.live import stream
from kinoflow.video.spec import Frames


def answers(
    bundle: Bundle, source: str | int, *, every: int, memory: int
) -> Iterator[Probabilities]:
    """Yield probabilities float32 (classes,) once every few frames.

    The first answer comes after as many frames as the bundle's clips have. A causal model
    (movinet) reads frame by frame; any other is given the latest clip each time. Both take frames
    in a row, however the bundle's clips were sampled: the length of the video is not known.

    Args:
        bundle: the model and its clips.
        source: a file, the URL of a stream or the number of a camera.
        every: frames between two answers.
        memory: frames that an answer of a causal model goes back, at least; it goes back less
            than twice as far. So old frames are forgotten in time.

    Raises UnreadableVideo for a source that does not open or gives no frame.
    """
    from kinoflow.models.streaming import can_stream

    if can_stream(bundle.model):
        return _frame_by_frame(bundle, source, every, memory)
    return _clip_by_clip(bundle, source, every)


def _clip_by_clip(bundle: Bundle, source: str | int, every: int) -> Iterator[Probabilities]:
    for clip in stream(source, bundle.clip, every=every):
        yield bundle.predict(clip[None])[0]


def _frame_by_frame(
    bundle: Bundle, source: str | int, every: int, memory: int
) -> Iterator[Probabilities]:
    wanted = bundle.clip.frames
    # frames as far apart as those that the model takes of a clip
    step = max(1, wanted // bundle.description.frames)
    reader = _Reader(bundle, -(-memory // step))
    for number, [frame] in enumerate(stream(source, replace(bundle.clip, frames=1)), start=1):
        if number % step == 0:
            reader.read(frame)
        if number >= wanted and (number - wanted) % every == 0:
            yield reader.answer


class _Reader:
    """Reads a video twice over, so that old frames are forgotten.

    After every `memory` frames that are read, one reading begins anew; the other gives the answers
    until the first has read as many itself.
    """

    def __init__(self, bundle: Bundle, memory: int) -> None:
        from kinoflow.models.streaming import Stream

        # mirrored frames too, where the bundle's answers are averaged over both
        self._sides = [slice(None), slice(None, None, -1)][: 1 + bundle.description.flip]
        count = len(self._sides)
        self._older, self._newer = slice(0, count), slice(count, 2 * count)
        self._stream = Stream(bundle.model, videos=2 * count)
        self._memory = memory
        self._frames = 0

    def read(self, frame: Frames) -> None:
        """Take the next frame, uint8 (H, W, 3)."""
        if self._frames and self._frames % self._memory == 0:
            self._older, self._newer = self._newer, self._older
            self._stream.reset(self._newer)
        self._frames += 1
        answers = self._stream(np.stack([frame[:, side] for side in self._sides] * 2))
        self.answer: Probabilities = answers[self._older].mean(axis=0)
