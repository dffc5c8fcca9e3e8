"""Learn from a teacher's answers as well as from labels.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015): a student is fitted
to the probabilities that a teacher gives, softened, for the clip that the student itself sees,
augmented (Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR
2022).
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from kinoflow.bundle import Probabilities
from kinoflow.training.batches import AugmentedBatches
from kinoflow.video.spec import Frames

_TINY = 1e-7  # below it, probabilities count as this much


class TaughtBatches(keras.utils.PyDataset):
    """Training batches whose targets are labels and a teacher's answers, float32 (B, 2 classes).

    Args:
        batches: clips, labels and weights.
        teacher: from clips uint8 (B, T, H, W, 3) to probabilities (B, classes).
    """

    def __init__(
        self, batches: AugmentedBatches, teacher: Callable[[Frames], Probabilities]
    ) -> None:
        super().__init__(workers=1)
        self.batches = batches
        self.teacher = teacher

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[NDArray, ...]:
        clips, labels, weights = self.batches[index]
        return clips, np.concatenate([labels, self.teacher(clips)], axis=1), weights

    def set_epoch(self, epoch: int) -> None:
        """As `AugmentedBatches.set_epoch`."""
        self.batches.set_epoch(epoch)

    def on_epoch_end(self) -> None:
        self.batches.on_epoch_end()


class TaughtLoss(keras.losses.Loss):
    """Cross entropy to labels and, softened, to a teacher's answers.

    Targets are those of `TaughtBatches`, or labels alone, float32 (B, classes), as in validation.

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
        return (1 - self.share) * labels + self.share * self.temperature**2 * soft

    def _softened(self, probabilities):
        """The logarithms of probabilities whose logits are divided by the temperature."""
        logits = ops.log(ops.maximum(probabilities, _TINY)) / self.temperature
        return ops.log_softmax(logits, axis=-1)


class LabelAccuracy(keras.metrics.MeanMetricWrapper):
    """The share of clips with the right label, whose targets may hold a teacher's answers too."""

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(_matches, name=name)


def _matches(y_true, y_pred):
    return keras.metrics.categorical_accuracy(y_true[:, : y_pred.shape[-1]], y_pred)
