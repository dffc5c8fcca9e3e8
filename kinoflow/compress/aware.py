"""Fine-tuning with int8 in mind: the model learns weights that keep its answers when rounded."""

from pathlib import Path

import keras
import numpy as np

from kinoflow.bundle import Bundle
from kinoflow.compress import rewrite, rounding
from kinoflow.compress.fine_tune import fine_tune
from kinoflow.compress.settings import FineTune
from kinoflow.config import Run
from kinoflow.training.fit import TrainingData
from kinoflow.video.spec import Frames

_FITTED = 16  # training clips that ranges are found from, anew in each epoch


def aware(
    original: Bundle, run: Run, data: TrainingData, settings: FineTune, folder: Path
) -> Bundle:
    """Train a model while it rounds as int8 does, and write it without the rounding.

    Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
    Only Inference" (CVPR 2018). Kernels and what convolutions, dense layers and recurrent layers
    take are rounded, the states of the latter too; gradients pass by the rounding. Ranges of values
    are found from training clips at the start of each epoch. Of attention, kernels and inputs are
    rounded, and the products between its own results are not. The original is the teacher.

    Args:
        original: the bundle, of a model in float32.
        run: the settings that it was trained with.
        data: what it was trained on.
        settings: how long, and how fast at first.
        folder: where the new bundle is written, which is ready for `exporting.export` with
            precision int8. Architecture and description are the original's. The temperature is
            fitted anew if there are validation clips.

    Returns the new bundle.

    Raises UserError for a loss that is not finite.
    """
    rewrite.begin(run)
    network = rounding.rounding(original.model)
    shown = _shown(original, data)
    rounding.fit(network, shown)
    again = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: rounding.fit(network, shown)
    )
    fine_tune(network, original, run, data, settings, [again])
    plain = keras.models.clone_model(original.model)
    rounding.copy_weights(network, plain)
    return rewrite.write(folder, plain, original, data)


def _shown(original: Bundle, data: TrainingData) -> Frames:
    """What the model sees of some training clips, (N, frames, H, W, 3)."""
    rows = np.unique(np.linspace(0, len(data.train) - 1, _FITTED).astype(np.int64))
    views = [original.views(data.train.clip(row)) for row in rows]
    return np.stack([each[index % len(each)] for index, each in enumerate(views)])
