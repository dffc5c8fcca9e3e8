"""What is minimised, and how: the optimizer, its learning rate and the weights of classes."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kinoflow.config import Training


def make_optimizer(training: Training, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer for a training of `steps` batches over all epochs."""
    config: dict[str, Any] = {"learning_rate": learning_rate(training, steps)}
    if training.optimizer == "adamw":
        config["weight_decay"] = training.weight_decay
    if training.ema:
        config |= {"use_ema": True, "ema_momentum": training.ema}
    return keras.optimizers.get({"class_name": training.optimizer, "config": config})


def learning_rate(
    training: Training, steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate for a training of `steps` batches: constant, or a schedule.

    The cosine schedule rises linearly over the fraction `warmup` of all steps, then falls to zero
    along a cosine. Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts"
    (ICLR 2017), without restarts.
    """
    if training.schedule == "constant":
        return training.learning_rate
    warmup = round(training.warmup * steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else training.learning_rate,
        decay_steps=max(1, steps - warmup),
        warmup_target=training.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def class_weights(
    labels: NDArray[np.int64], classes: int, training: Training
) -> NDArray[np.float32]:
    """The weight of each class in the loss, float32 (classes,).

    `training.class_weights` says which: all weights are 1, or they are balanced, that is, inversely
    proportional to the number of clips of the class among `labels` (N,). Balanced, all classes
    count the same, and the mean weight of a clip is 1.
    """
    if training.class_weights == "none":
        return np.ones(classes, dtype=np.float32)
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32)
