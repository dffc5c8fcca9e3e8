"""Train a changed model a little longer, so that it answers as the original does again."""

from collections.abc import Sequence

import keras

from kinoflow.bundle import Bundle, compiled
from kinoflow.compress.settings import FineTune
from kinoflow.config import Run
from kinoflow.system.errors import UserError
from kinoflow.training.distillation import LabelAccuracy, TaughtBatches, TaughtLoss
from kinoflow.training.fit import TrainingData, augmented_batches


def fine_tune(
    model: keras.Model,
    original: Bundle,
    run: Run,
    data: TrainingData,
    settings: FineTune,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Train a model in place on augmented training clips, with the original as its teacher.

    The learning rate falls along a cosine to 0. No validation clip is looked at.

    Args:
        model: uint8 (B, T, H, W, 3) to float32 (B, classes), of the original's shapes.
        original: the bundle that was changed.
        run: the settings that the original was trained with, for its batches.
        data: what the original was trained on.
        settings: how long, and how fast at first.
        callbacks: told of each step.

    Raises UserError for a loss that is not finite.
    """
    batches = TaughtBatches(augmented_batches(run, data), compiled(original.model))
    steps = settings.epochs * len(batches)
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=TaughtLoss(),
        metrics=[LabelAccuracy()],
    )
    found = model.fit(
        batches,
        epochs=settings.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[keras.callbacks.TerminateOnNaN(), *callbacks],
    )
    if len(found.history["loss"]) < settings.epochs:
        raise UserError("fine-tuning diverged: lower compress.fine_tune.learning_rate")
