"""Classify a camera, a stream or a file while its frames arrive."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.video.live import stream
from kinoflow.video.spec import Frames


def predictions(
    bundle: Bundle, source: str | int, *, every: int, memory: int
) -> Iterator[Probabilities]:
    """Yield class probabilities, float32 (classes,), once every few frames.

    The first prediction comes after as many frames as the bundle's clips have. A causal model
    (movinet) reads frame by frame; any other model reads the latest clip each time. Both take
    consecutive frames, however the bundle's clips were sampled, since the length of the video is
    not known.

    Args:
        bundle: the model, and the size of its clips.
        source: a file, the URL of a stream or the number of a camera.
        every: frames between two predictions.
        memory: how many frames a causal model remembers, at least; at most it remembers about
            twice as many.

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
    # the model reads frames as far apart as those that it takes of a clip
    step = max(1, wanted // bundle.description.frames)
    reader = _ForgetfulReader(bundle, -(-memory // step))
    for number, [frame] in enumerate(stream(source, replace(bundle.clip, frames=1)), start=1):
        if number % step == 0:
            reader.read(frame)
        if number >= wanted and (number - wanted) % every == 0:
            yield reader.prediction


class _ForgetfulReader:
    """Reads a video with a causal model that forgets old frames.

    The model has two states, and both take in every frame. After every `memory` frames the older
    state, which predicts, is reset and becomes the newer one. So the state that predicts has read
    at least the last `memory` frames, unless the video has fewer so far.
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

    def read(self, frame: Frames) -> None:
        """Take the next frame, uint8 (H, W, 3)."""
        if self._frames and self._frames % self._memory == 0:
            self._older, self._newer = self._newer, self._older
            self._stream.reset(self._newer)
        self._frames += 1
        views = [frame[:, columns] for columns in self._mirrorings]
        probabilities = self._stream(np.stack(views * 2))
        pooled = probabilities[self._older].mean(axis=0, keepdims=True)
        self.prediction: Probabilities = self._bundle.calibrated(pooled)[0]
