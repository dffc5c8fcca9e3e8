"""Learn from a teacher's answers as well as from labels.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015): a student is fitted
to the probabilities that a teacher gives, softened, for the clip that the student itself sees,
augmented (Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR
2022).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from kinoflow.bundle import Probabilities
from kinoflow.training.batches import AugmentedBatches
from kinoflow.video.padding import valid_frames
from kinoflow.video.sampling import temporal_views
from kinoflow.video.spec import Frames

_TINY = 1e-7  # below it, probabilities count as this much


# from clips uint8 (B, T, H, W, 3) to probabilities (B, classes)
Forward = Callable[[Frames], Probabilities]


class Teacher(NamedTuple):
    """A trained model that answers for a student's clips."""

    forward: Forward
    frames: int | None = None  # that it takes of a clip; None: as many as the clips have


class TaughtBatches(keras.utils.PyDataset):
    """Training batches whose targets are labels and a teacher's answers, float32 (B, 2 classes).

    All see the same augmented clips. A model that takes fewer frames than the clips have is given
    the middle frame of each of as many equal parts.

    Args:
        batches: clips, labels and weights.
        teachers: one or several, whose mean answer counts.
        frames: how many frames the student takes; None: as many as the clips have.
        unlabelled: batches of clips whose labels are not looked at. Each batch is added to one of
            `batches`, as far as there are any; its labels are all 0.
    """

    def __init__(
        self,
        batches: AugmentedBatches,
        teachers: Forward | Sequence[Teacher],
        frames: int | None = None,
        unlabelled: AugmentedBatches | None = None,
    ) -> None:
        super().__init__(workers=1)
        self.batches = batches
        self.teachers = (Teacher(teachers),) if callable(teachers) else tuple(teachers)
        self.frames = frames
        self.unlabelled = unlabelled

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[NDArray, ...]:
        clips, labels, weights = self.batches[index]
        if self.unlabelled is not None and index < len(self.unlabelled):
            more = self.unlabelled[index][0]
            clips = np.concatenate([clips, more])
            labels = np.concatenate([labels, np.zeros((len(more), labels.shape[1]), np.float32)])
            weights = np.concatenate([weights, np.ones(len(more), np.float32)])
        answers = [each.forward(self._fewer(clips, each.frames)) for each in self.teachers]
        targets = np.concatenate([labels, np.mean(answers, axis=0)], axis=1)
        return self._fewer(clips, self.frames), targets, weights

    def _fewer(self, clips: Frames, frames: int | None) -> Frames:
        """The clips (B, T, H, W, 3) with as many frames as a model takes."""
        if frames is None or frames == clips.shape[1]:
            return clips
        masked = self.batches.masked
        chosen = [temporal_views(valid_frames(each, masked=masked), frames, 1)[0] for each in clips]
        return np.stack([each.take(rows, axis=0) for each, rows in zip(clips, chosen, strict=True)])

    def set_epoch(self, epoch: int) -> None:
        """As `AugmentedBatches.set_epoch`."""
        self.batches.set_epoch(epoch)
        if self.unlabelled is not None:
            self.unlabelled.set_epoch(epoch)

    def on_epoch_end(self) -> None:
        self.batches.on_epoch_end()
        if self.unlabelled is not None:
            self.unlabelled.on_epoch_end()


class TaughtLoss(keras.losses.Loss):
    """Cross entropy to labels and, softened, to a teacher's answers.

    Targets are those of `TaughtBatches`, or labels alone, float32 (B, classes), as in validation.
    For a clip whose labels are all 0, the teacher's part alone counts.

    Args:
        share: of the teacher in the loss; the rest is the labels'.
        temperature: by which both answers are softened. The gradient of the softened part shrinks
            by its square, by which the loss is multiplied.
        label_smoothing: of the labels.
    """

    def __init__(
        self, share: float = 0.9, temperature: float = 2.0, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.share = share
        self.temperature = temperature
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        classes = y_pred.shape[-1]
        labels = keras.losses.categorical_crossentropy(
            y_true[:, :classes], y_pred, label_smoothing=self.label_smoothing
        )
        if y_true.shape[-1] == classes:
            return labels
        wanted, given = self._softened(y_true[:, classes:]), self._softened(y_pred)
        soft = -ops.sum(ops.exp(wanted) * given, axis=-1)
        # with smoothing, labels that are all 0 would have a part as well
        labels = labels * _labelled(y_true[:, :classes])
        return (1 - self.share) * labels + self.share * self.temperature**2 * soft

    def _softened(self, probabilities):
        """The logarithms of probabilities whose logits are divided by the temperature."""
        logits = ops.log(ops.maximum(probabilities, _TINY)) / self.temperature
        return ops.log_softmax(logits, axis=-1)


class LabelAccuracy(keras.metrics.MeanMetricWrapper):
    """The share of labelled clips with the right label.

    Targets may hold a teacher's answers too, as those of `TaughtBatches`.
    """

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(_matches, name=name)

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_true, y_pred, _labelled(y_true[:, : y_pred.shape[-1]]))


def _matches(y_true, y_pred):
    return keras.metrics.categorical_accuracy(y_true[:, : y_pred.shape[-1]], y_pred)


def _labelled(labels):
    """1 for each clip that has a label, else 0: float32 (B, classes) to (B,)."""
    return ops.cast(ops.max(labels, axis=-1) > 0, "float32")
