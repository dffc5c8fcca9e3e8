"""Batches of clips for Keras: unchanged for validation, shuffled and augmented for training."""

import math
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from kinoflow.config import Augment
from kinoflow.data.clips import ClipSet, ClipStore
from kinoflow.training.augment import augment_clip, choose_frames, mix_up
from kinoflow.training.read_ahead import ReadAhead
from kinoflow.video.padding import valid_frames
from kinoflow.video.sampling import temporal_views
from kinoflow.video.spec import Frames


class ClipBatches(keras.utils.PyDataset):
    """Batches of clips uint8 (B, T, H, W, 3) and one-hot labels float32 (B, classes), in order.

    If the model takes fewer frames than a clip has, the clip is divided into equal parts, and the
    model sees the middle frame of each. Threads read batches before they are asked for.

    Args:
        clipset: the clips, and their labels as class indices.
        classes: how many classes there are.
        frames: how many frames the model takes.
        size: how many clips a batch has; the last one may have fewer.
        masked: whether black frames at the end of a clip are padding, which is left out.
    """

    def __init__(
        self, clipset: ClipSet, *, classes: int, frames: int, size: int, masked: bool = False
    ) -> None:
        # With more workers, Keras reads ahead itself, but waits a tenth of a second at the end of
        # each epoch for batches that do not come.
        super().__init__(workers=1)
        self.clipset = clipset
        self.frames = frames
        self.size = size
        self.masked = masked
        self.one_hot = np.eye(classes, dtype=np.float32)
        self.order = np.arange(len(clipset))
        self._ahead = ReadAhead(self._read, len(self))

    def __len__(self) -> int:
        return math.ceil(len(self.clipset) / self.size)

    def __getitem__(self, index: int):
        return self._ahead[index]

    def _read(self, index: int) -> tuple[NDArray, ...]:
        return self._batch(self.order[index * self.size : (index + 1) * self.size])

    def _batch(self, rows: NDArray[np.int64]) -> tuple[NDArray, ...]:
        clips = np.stack([self._clip(row) for row in rows])
        return clips, self.one_hot[self.clipset.labels[rows]]

    def _clip(self, row: int) -> Frames:
        clip = self.clipset.clip(row)
        valid = valid_frames(clip, masked=self.masked)
        return clip.take(temporal_views(valid, self.frames, 1)[0], axis=0)


@dataclass(frozen=True)
class Augmentation:
    """How the clips of a training are changed at random."""

    settings: Augment
    seed: int
    unflipped: frozenset[int] = frozenset()  # indices of classes whose clips are never flipped
    restyled: tuple[Path, ...] = ()  # stores of the same clips, each painted in another style


class AugmentedBatches(ClipBatches):
    """Batches for training: shuffled anew in each epoch, augmented, with a weight per clip.

    A batch is clips and labels as in `ClipBatches`, and weights float32 (B,). Random changes depend
    only on the seed, the epoch and the clips, not on the order in which threads read the clips.

    Args:
        clipset: the clips, and their labels as class indices.
        augmentation: how the clips are changed.
        class_weights: the weight of each class in the loss, float32 (classes,).
        frames, size, masked: as in `ClipBatches`.
    """

    def __init__(
        self,
        clipset: ClipSet,
        augmentation: Augmentation,
        class_weights: NDArray[np.float32],
        *,
        frames: int,
        size: int,
        masked: bool = False,
    ) -> None:
        super().__init__(
            clipset, classes=len(class_weights), frames=frames, size=size, masked=masked
        )
        self.augmentation = augmentation
        self.class_weights = class_weights
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle the clips for this epoch, counted from 0, and draw new changes in it."""
        self.epoch = epoch
        self.order = np.arange(len(self.clipset))
        np.random.default_rng((self.augmentation.seed, epoch)).shuffle(self.order)
        self._ahead.forget()

    def on_epoch_end(self) -> None:
        self.set_epoch(self.epoch + 1)

    def _batch(self, rows: NDArray[np.int64]) -> tuple[NDArray, ...]:
        batch, targets = super()._batch(rows)
        if alpha := self.augmentation.settings.mixup:
            rng = np.random.default_rng((self.augmentation.seed, self.epoch, *rows))
            batch, targets = mix_up(batch, targets, alpha, rng)
        return batch, targets, targets @ self.class_weights

    def _clip(self, row: int) -> Frames:
        settings = self.augmentation.settings
        rng = np.random.default_rng((self.augmentation.seed, self.epoch, row))
        clip = self._painted(row, rng)
        available = valid_frames(clip, masked=self.masked)
        chosen = choose_frames(available, self.frames, settings, rng)
        flip = settings.flip and self.clipset.labels[row] not in self.augmentation.unflipped
        return augment_clip(clip.take(chosen, axis=0), settings, rng, flip=flip)

    def _painted(self, row: int, rng: np.random.Generator) -> Frames:
        """The clip as it was filmed or, with the probability `restyle`, in one of the styles."""
        restyle, stores = self.augmentation.settings.restyle, self.augmentation.restyled
        # nothing is drawn where it is off, so that all else stays as it was
        if restyle and rng.uniform() < restyle:
            return ClipStore(stores[rng.integers(len(stores))]).read(self.clipset.videos[row])
        return self.clipset.clip(row)
