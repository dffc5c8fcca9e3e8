"""Fitting a model to clips, with early stopping and checkpoints that survive a kill."""

import contextlib
import hashlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow import bundle
from kinoflow.config import Params, Training
from kinoflow.data import tables
from kinoflow.data.clips import ClipSet
from kinoflow.models import build
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.training.batches import Batches, Feed


def train(
    name: str,
    params: Params,
    labels: tuple[str, ...],
    sets: dict[str, ClipSet],
    data: str,
    folder: Path,
    curves: Path,
    checkpoints: Path,
) -> float:
    """Train the candidate `name` on sets["train"], stopping by sets["val"].

    Writes the bundle to `folder` and DVCLive's curves to `curves`; returns the seconds spent in
    epochs, those before a kill included. `data` identifies what is trained on. Raises UserError
    for options that the model does not have, classes that there are not, and a loss that is no
    number.
    """
    candidate = params.candidate(name)
    training, augment = params.training_of(name), params.augment_of(name)
    model = _built(name, params, len(labels), training.precision)
    frames = candidate.spec(params.clip).frames
    size = training.batch_size
    unknown = set(augment.flip_except) - set(labels)
    if unknown:
        raise UserError(
            f"augment.flip_except names {', '.join(sorted(unknown))}, which is no class: "
            f"there are {', '.join(labels)}"
        )
    feed = Feed(
        augment,
        _class_weights(sets["train"].labels, len(labels), training),
        params.seed,
        frozenset(number for number, name in enumerate(labels) if name in augment.flip_except),
    )
    masked = params.clip.padding == "mask"
    batches = Batches(sets["train"], len(labels), frames, size, feed, masked=masked)
    model.compile(
        optimizer=_optimizer(training, steps=len(batches) * training.epochs),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=training.label_smoothing),
        metrics=["accuracy"],
    )
    versions = bundle.library_versions()
    identity = _identity(name, params, data, versions)

    with _live(curves) as live:
        progress = Progress(checkpoints, identity, training, live)
        done = progress.resume(model)
        if done:
            print(f"{name}: going on after epoch {done}", file=sys.stderr)
        batches.start(done)
        if done < training.epochs and not progress.finished:
            model.fit(
                batches,
                validation_data=Batches(sets["val"], len(labels), frames, size, masked=masked),
                epochs=training.epochs,
                initial_epoch=done,
                callbacks=[*_reseeding(params.seed), *progress.callbacks],
                shuffle=False,  # Batches does, by the epoch's number
                verbose=0,
            )
    progress.restore_best(model)
    # the same weights without the optimizer's, which would be saved as well, and in float32, so
    # that it answers the same on every device
    weights = model.get_weights()
    model = _built(name, params, len(labels), "float32")
    model.set_weights(weights)
    history = pd.DataFrame(progress.history)
    history.insert(0, "epoch", range(1, len(history) + 1))
    description = bundle.Description(
        name=name,
        labels=labels,
        clip=params.clip,
        frames=frames,
        views=params.evaluation.views,
        flip=params.evaluation.flip,
        candidate=candidate.model_dump(),
        weights=bundle.weights_md5(candidate.options),
        seed=params.seed,
        data=data,
        versions=versions,
        metrics={"epoch": progress.best_epoch + 1, **progress.best},
    )
    bundle.save(folder, model, description, tables.text(history, tables.HISTORY))
    shutil.rmtree(checkpoints, ignore_errors=True)
    return progress.seconds


class Progress(keras.callbacks.Callback):
    """Early stopping, checkpoints and curves, all from one record that survives a kill.

    After each epoch the weights, with the optimizer's and the random generators', and the
    record go to `folder`; the weights of the best epoch are kept beside them.
    """

    def __init__(self, folder: Path, identity: str, training: Training, live: Any) -> None:
        super().__init__()
        self.folder = folder
        self.identity = identity
        self.patience = training.patience
        self.live = live
        self.averages = _Averages() if training.ema else None
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.seconds = 0.0

    @property
    def callbacks(self) -> list[keras.callbacks.Callback]:
        # the averages first: what is kept of an epoch is what was validated
        return [self] if self.averages is None else [self.averages, self]

    @property
    def best(self) -> dict[str, float]:
        return self.history[self.best_epoch]

    def resume(self, model: keras.Model) -> int:
        """Take up what an earlier run with the same identity left; return its epochs."""
        files.settle(self.folder / "last")
        record = self.folder / "last" / "record.json"
        state = files.read_json(record) if record.exists() else {}
        if state.get("identity") != self.identity:
            shutil.rmtree(self.folder, ignore_errors=True)
            return 0
        # the optimizer has no variables to load into before it is built
        model.optimizer.build(model.trainable_variables)
        model.load_weights(self.folder / "last" / "model.weights.h5")
        for variable, value in zip(_random_states(model), state["random"], strict=True):
            variable.assign(value)
        if self.averages is not None:
            self.averages.resume()
        self.history = state["history"]
        self.best_epoch = state["best_epoch"]
        self.seconds = state["seconds"]
        for row in self.history:
            self._draw(row)
        return len(self.history)

    @property
    def finished(self) -> bool:
        if self.patience is None:
            return False
        return len(self.history) - 1 - self.best_epoch >= self.patience

    def restore_best(self, model: keras.Model) -> None:
        model.load_weights(self.folder / "best.weights.h5")

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        row = {name: float(value) for name, value in (logs or {}).items()}
        if not np.isfinite(row["loss"]):
            raise UserError(
                f"training diverged in epoch {epoch + 1} (loss {row['loss']}): "
                "lower training.learning_rate"
            )
        self.history.append(row)
        taken = time.monotonic() - self.started
        self.seconds += taken
        better = row["val_loss"] < self.best["val_loss"]
        if better or epoch == 0 or self.patience is None:
            self.best_epoch = epoch
            with files.replacing(self.folder / "best.weights.h5") as partial:
                self.model.save_weights(partial)
        with files.replacing_folder(self.folder / "last") as partial:
            self.model.save_weights(partial / "model.weights.h5")
            files.write_json(
                partial / "record.json",
                {
                    "identity": self.identity,
                    "history": self.history,
                    "best_epoch": self.best_epoch,
                    "seconds": self.seconds,
                    "random": [
                        keras.ops.convert_to_numpy(v).tolist() for v in _random_states(self.model)
                    ],
                },
            )
        self._draw(row)
        self._print(row, taken)
        self.model.stop_training = self.finished

    def _draw(self, row: dict[str, float]) -> None:
        for name, value in row.items():
            self.live.log_metric(name, value)
        self.live.next_step()

    def _print(self, row: dict[str, float], seconds: float) -> None:
        print(
            f"epoch {len(self.history)}/{self.params['epochs']}: "
            f"loss {row['loss']:.3f}, accuracy {row['accuracy']:.3f}, "
            f"val_loss {row['val_loss']:.3f}, val_accuracy {row['val_accuracy']:.3f}, "
            f"{seconds:.1f} s" + (" *" if self.best_epoch == len(self.history) - 1 else ""),
            file=sys.stderr,
            flush=True,
        )


class _Averages(keras.callbacks.SwapEMAWeights):
    """Puts the averaged weights into the model for validation and between epochs."""

    def __init__(self) -> None:
        super().__init__(swap_on_epoch=True)

    def resume(self) -> None:
        """The weights were saved between epochs: swapped."""
        self._ema_weights_in_model = True


def _reseeding(seed: int) -> list[keras.callbacks.Callback]:
    """What has each epoch begin with random numbers of its own, where a checkpoint has no others.

    On torch dropout draws from one generator for all. Elsewhere random layers keep states of
    their own, and seeding anew would have TensorFlow optimize its graphs again each time.
    """
    if keras.backend.backend() != "torch":
        return []
    return [
        keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: keras.utils.set_random_seed((seed + epoch) % 2**32)
        )
    ]


def _random_states(model: keras.Model) -> list[keras.Variable]:
    """The states of the random layers, which Keras leaves out of saved weights."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def _built(name: str, params: Params, classes: int, precision: str) -> keras.Model:
    """The candidate's model with fresh weights, the same for the same seed."""
    # names of layers count up within a process, and are part of the bundle
    keras.utils.clear_session()
    keras.utils.set_random_seed(params.seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        candidate = params.candidate(name)
        return build(
            candidate.model,
            stored=params.clip,
            seen=candidate.spec(params.clip),
            classes=classes,
            options=candidate.options,
        )
    finally:
        keras.config.set_dtype_policy(before)


def _optimizer(training: Training, steps: int) -> keras.optimizers.Optimizer:
    config: dict[str, Any] = {"learning_rate": _rate(training, steps)}
    if training.optimizer == "adamw":
        config["weight_decay"] = training.weight_decay
    if training.ema:
        config |= {"use_ema": True, "ema_momentum": training.ema}
    return keras.optimizers.get({"class_name": training.optimizer, "config": config})


def _rate(training: Training, steps: int) -> Any:
    """Linear warm-up, then cosine decay to zero over all steps (Loshchilov and Hutter, 2017)."""
    if training.schedule == "constant":
        return training.learning_rate
    warmup = round(training.warmup * steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else training.learning_rate,
        decay_steps=max(1, steps - warmup),
        warmup_target=training.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def _class_weights(
    labels: NDArray[np.int64], classes: int, training: Training
) -> NDArray[np.float32]:
    """A weight per class (classes,): all 1, or balanced."""
    if training.class_weights == "none":
        return np.ones(classes, dtype=np.float32)
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32)


def _live(folder: Path) -> Any:
    from dvclive.live import Live
    from scmrepo.exceptions import SCMError

    class Curves(Live):
        def _init_dvc(self) -> None:
            # it means to go on in a repository without a commit, yet asks for the commit first
            with contextlib.suppress(SCMError):
                super()._init_dvc()

    # kinoflow makes its own pages and experiments
    return Curves(str(folder), save_dvc_exp=False, dvcyaml=None, report=None, monitor_system=False)


def _identity(name: str, params: Params, data: str, versions: dict[str, str]) -> str:
    """What a checkpoint must share with a run for the run to go on from it."""
    parts = [
        params.candidate(name).model_dump(),
        bundle.weights_md5(params.candidate(name).options),
        params.training_of(name).model_dump(),
        params.augment_of(name).model_dump(),
        vars(params.clip),
        params.seed,
        data,
        versions,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
