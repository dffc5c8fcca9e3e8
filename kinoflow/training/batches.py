"""Batches of clips as a model is fed them, in training augmented and shuffled."""

import math
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from kinoflow.config import Augment
from kinoflow.data.clips import ClipSet
from kinoflow.training.augment import augmented, frame_choice, mixed
from kinoflow.video.padding import valid_frames
from kinoflow.video.sampling import temporal_views
from kinoflow.video.spec import Frames


@dataclass(frozen=True)
class Feed:
    """What becomes of clips on their way into training."""

    augment: Augment
    class_weights: NDArray[np.float32]  # (classes,)
    seed: int
    unflipped: frozenset[int] = frozenset()  # classes that mirror into each other


class Batches(keras.utils.PyDataset):
    """Batches of clips uint8 (B, T, H, W, 3) and one-hot labels float32 (B, classes).

    With a feed, for training: shuffled anew each epoch, augmented, and with a weight (B,) for
    each clip. All that is random comes from the seed, the epoch and the clip alone. Without
    one: in order, and where the model takes fewer frames than the store has, the middle one of
    each equal part of the clip. In clips that end in padding (`masked`) the choice is among the
    frames before it.
    """

    def __init__(
        self,
        clipset: ClipSet,
        classes: int,
        frames: int,
        batch_size: int,
        feed: Feed | None = None,
        *,
        masked: bool = False,
    ) -> None:
        super().__init__(workers=2, max_queue_size=8)  # threads that read ahead
        self.clipset = clipset
        self.one_hot = np.eye(classes, dtype=np.float32)
        self.frames = frames
        self.batch_size = batch_size
        self.feed = feed
        self.masked = masked
        self.start(0)

    def start(self, epoch: int) -> None:
        """Put the clips into the order of this epoch, counted from 0."""
        self.epoch = epoch
        self.order = np.arange(len(self.clipset))
        if self.feed is not None:
            np.random.default_rng((self.feed.seed, epoch)).shuffle(self.order)

    def on_epoch_end(self) -> None:
        self.start(self.epoch + 1)

    def __len__(self) -> int:
        return math.ceil(len(self.clipset) / self.batch_size)

    def __getitem__(self, index: int):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        clips, labels = self.clipset.read(rows), self.clipset.labels[rows]
        if self.feed is None:
            return np.stack([self._middles(clip) for clip in clips]), self.one_hot[labels]
        return self._fed(self.feed, rows, clips, labels)

    def _middles(self, clip: Frames) -> Frames:
        return clip[temporal_views(valid_frames(clip, masked=self.masked), self.frames, 1)[0]]

    def _fed(self, feed: Feed, rows: NDArray[np.int64], clips: Frames, labels: NDArray[np.int64]):
        seen = []
        for row, clip, label in zip(rows, clips, labels, strict=True):
            rng = np.random.default_rng((feed.seed, self.epoch, row))
            there = valid_frames(clip, masked=self.masked)
            chosen = frame_choice(there, self.frames, feed.augment, rng)
            flip = feed.augment.flip and label not in feed.unflipped
            seen.append(augmented(clip[chosen], feed.augment, rng, flip=flip))
        batch, targets = np.stack(seen), self.one_hot[labels]
        if feed.augment.mixup:
            rng = np.random.default_rng((feed.seed, self.epoch, *rows))
            batch, targets = mixed(batch, targets, feed.augment.mixup, rng)
        return batch, targets, targets @ feed.class_weights
