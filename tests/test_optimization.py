from typing import Any

import keras
import numpy as np
import pytest

from kinoflow.config import Params, Training
from kinoflow.training import optimization
from kinoflow.training.averaging import AveragedWeights

OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")


def training(defaults: Params, **changes: Any) -> Training:
    return Training.model_validate(defaults.training.model_dump() | changes)


def test_the_rate_rises_over_the_warm_up_and_falls_to_zero(defaults: Params) -> None:
    settings = training(defaults, schedule="cosine", learning_rate=0.1, warmup=0.2)
    schedule = optimization.learning_rate(settings, steps=100)
    assert not isinstance(schedule, float)
    rates = [float(schedule(step)) for step in range(101)]
    np.testing.assert_allclose(rates[:21], np.linspace(0, 0.1, 21), atol=1e-7)
    assert (np.diff(rates[20:]) < 0).all()
    assert rates[60] == pytest.approx(0.05)
    assert rates[100] == pytest.approx(0, abs=1e-7)


def test_without_warm_up_the_rate_is_highest_at_once(defaults: Params) -> None:
    settings = training(defaults, schedule="cosine", learning_rate=0.1, warmup=0)
    schedule = optimization.learning_rate(settings, steps=10)
    assert not isinstance(schedule, float)
    assert float(schedule(0)) == pytest.approx(0.1)
    constant = training(defaults, schedule="constant", learning_rate=0.1)
    assert optimization.learning_rate(constant, steps=10) == 0.1


def test_weight_decay_is_that_of_adamw_alone(defaults: Params) -> None:
    for name in OPTIMIZERS:
        settings = training(defaults, optimizer=name, weight_decay=0.3)
        decay = optimization.make_optimizer(settings, steps=1).weight_decay
        assert decay == (0.3 if name == "adamw" else None), name


def test_rare_classes_weigh_more(defaults: Params) -> None:
    labels = np.array([0, 0, 0, 1])
    balanced = optimization.class_weights(labels, 2, training(defaults, class_weights="balanced"))
    np.testing.assert_allclose(balanced, [2 / 3, 2])
    assert balanced[labels].mean() == pytest.approx(1)
    plain = optimization.class_weights(labels, 2, training(defaults, class_weights="none"))
    np.testing.assert_array_equal(plain, [1, 1])


@pytest.mark.parametrize(
    ("name", "scaled"), [*((name, False) for name in OPTIMIZERS), ("adamw", True)]
)
def test_averaged_weights_are_those_of_keras(name: str, scaled: bool, defaults: Params) -> None:
    """With Keras' own callback and with ours a training gives the same weights and scores."""
    settings = training(defaults, optimizer=name, ema=0.9, learning_rate=0.05)
    drawn = np.random.default_rng(0)
    x = drawn.normal(size=(24, 3)).astype(np.float32)
    y = (x.sum(axis=1) > 0).astype(np.float32)

    def trained(averages: keras.callbacks.Callback) -> tuple[list[np.ndarray], list[float]]:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(1)])
        optimizer = optimization.make_optimizer(settings, steps=9)
        if scaled:  # as float16 has it
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.compile(optimizer, loss="mse")
        kept: list[np.ndarray] = []
        keep = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: kept.extend(w.copy() for w in model.get_weights())
        )
        done = model.fit(
            x, y, batch_size=8, epochs=3, shuffle=False, verbose=0,
            validation_data=(x, y), callbacks=[averages, keep],
        )  # fmt: skip
        return kept, done.history["val_loss"]

    theirs = trained(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    ours = trained(AveragedWeights())
    # elsewhere Keras swaps by a copy, which rounds nothing
    within = 0 if keras.backend.backend() == "tensorflow" else 1e-5
    for one, other in zip(theirs[0], ours[0], strict=True):
        np.testing.assert_allclose(one, other, rtol=within, atol=within)
    np.testing.assert_allclose(theirs[1], ours[1], rtol=within)
