"""What happens around the epochs of a training: averages, scores, a checkpoint, an early end."""

import sys
import time
from typing import TYPE_CHECKING

import keras
import numpy as np

from kinoflow.config import Run
from kinoflow.system.errors import UserError
from kinoflow.training import curves
from kinoflow.training.averaging import AveragedWeights
from kinoflow.training.checkpoints import Checkpoints
from kinoflow.training.history import History, Scores

if TYPE_CHECKING:
    from dvclive.live import Live


def callbacks_of(
    run: Run, history: History, checkpoints: Checkpoints, live: "Live | None"
) -> list[keras.callbacks.Callback]:
    """What Keras calls while the candidate of a run is trained.

    Args:
        run: the settings.
        history: to which the scores of each epoch are added.
        checkpoints: where a checkpoint is saved after each epoch.
        live: draws the scores; None: nothing does.

    After an epoch they raise UserError for a loss that is not finite.
    """
    callbacks: list[keras.callbacks.Callback] = []
    if keras.backend.backend() == "torch":
        # On torch, all dropout layers draw from one generator, whose state is in no checkpoint, so
        # it is seeded in each epoch. On other backends each random layer has a state of its own,
        # which checkpoints keep; seeding there would make TensorFlow optimize its graphs again.
        callbacks.append(
            keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs: keras.utils.set_random_seed(
                    (run.seed + epoch) % 2**32
                )
            )
        )
    if run.training.ema:
        # before the checkpoint, which keeps what was validated: the averages
        callbacks.append(AveragedWeights(swapped=len(history) > 0))
    return [*callbacks, _EpochEnd(history, checkpoints, live)]


class _EpochEnd(keras.callbacks.Callback):
    """After each epoch: records its scores, saves a checkpoint, stops if patience has run out."""

    def __init__(self, history: History, checkpoints: Checkpoints, live: "Live | None") -> None:
        super().__init__()
        self.history = history
        self.checkpoints = checkpoints
        self.live = live

    def on_epoch_begin(self, epoch: int, logs: Scores | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Scores | None = None) -> None:
        scores = {name: float(value) for name, value in (logs or {}).items()}
        if not np.isfinite(scores["loss"]):
            raise UserError(
                f"training diverged in epoch {epoch + 1} (loss {scores['loss']}): "
                "lower training.learning_rate"
            )
        seconds = time.monotonic() - self.started
        self.history.add(scores, seconds)
        self.checkpoints.save(self.model, self.history)
        curves.draw(self.live, scores)
        names = ("loss", "accuracy", "val_loss", "val_accuracy")
        print(
            f"epoch {epoch + 1}/{self.params['epochs']}: "
            + ", ".join(f"{name} {scores[name]:.3f}" for name in names if name in scores)
            + f", {seconds:.1f} s"
            + " *" * self.history.improved,
            file=sys.stderr,
            flush=True,
        )
        self.model.stop_training = self.history.stopped
