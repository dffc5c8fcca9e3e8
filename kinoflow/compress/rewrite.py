"""A bundle of a model that was changed after its training: its copy, and its folder."""

from pathlib import Path

import keras

from kinoflow.bundle import HISTORY, Bundle
from kinoflow.config import Run
from kinoflow.training import calibration, export
from kinoflow.training.fit import TrainingData


def begin(run: Run) -> None:
    """Let the same change give the same bytes: random numbers from the seed, the same sums."""
    keras.utils.set_random_seed(run.seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def copied(model: keras.Model) -> keras.Model:
    """A model of the same layers and weights, without an optimizer."""
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def thaw(model: keras.Model) -> None:
    """Let all layers learn, those of a frozen backbone too: what they rested on has changed."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            thaw(layer)
        layer.trainable = True


def write(folder: Path, model: keras.Model, original: Bundle, data: TrainingData) -> Bundle:
    """Write a changed model as a bundle, calibrated on validation clips unless it learned them.

    Args:
        folder: the bundle's; a bundle that is already there is replaced.
        model: of the original's shapes.
        original: the bundle whose model was changed: its description and history are kept.
        data: with the validation clips.
    """
    plain = copied(model)
    description = original.description
    if data.val is not None and "val" not in description.trained_on:
        changed = Bundle(folder, description, trained=plain)
        fitted = calibration.temperature_on(changed, data.val, data.val_recordings)
        description = description.model_copy(update={"temperature": fitted})
    history = (original.folder / HISTORY).read_text(encoding="utf-8")
    export.save(folder, plain, description, history)
    return Bundle(folder, description)
