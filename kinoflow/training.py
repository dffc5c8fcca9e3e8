"""Fitting a model to clips: batches, early stopping, and checkpoints that survive a kill."""

import hashlib
import json
import math
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow import bundle, files
from kinoflow.augment import augmentation
from kinoflow.clips import ClipSet
from kinoflow.console import UserError
from kinoflow.models import build
from kinoflow.params import Candidate, Params, Training
from kinoflow.video import frame_indices


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
    for options that the model does not have, and for a loss that is no number.
    """
    candidate = params.candidate(name)
    training = params.training_of(name)
    _start_afresh(params.seed)
    model = build(candidate, params.clip, len(labels))
    frames = candidate.spec(params.clip).frames
    size = training.batch_size
    batches = Batches(sets["train"], len(labels), frames, size, params.seed)
    wrapped = _trainable(model, params, training, steps=len(batches) * training.epochs)
    versions = bundle.library_versions()
    identity = _identity(candidate, params, training, data, versions)

    with _live(curves) as live:
        progress = Progress(checkpoints, identity, training.patience, live)
        done = progress.resume(wrapped)
        if done:
            print(f"{name}: going on after epoch {done}", file=sys.stderr)
        batches.start(done)
        if done < training.epochs and not progress.finished:
            wrapped.fit(
                batches,
                validation_data=Batches(sets["val"], len(labels), frames, size),
                epochs=training.epochs,
                initial_epoch=done,
                class_weight=_class_weights(sets["train"].labels, training),
                callbacks=[progress],
                shuffle=False,  # Batches does, by the epoch's number
                verbose=0,
            )
    progress.restore_best(wrapped)
    history = pd.DataFrame(progress.history)
    history.insert(0, "epoch", range(1, len(history) + 1))
    description = bundle.Description(
        name=name,
        labels=labels,
        clip=params.clip,
        frames=frames,
        views=params.evaluation.views,
        candidate=candidate.model_dump(),
        seed=params.seed,
        data=data,
        versions=versions,
        metrics={"epoch": progress.best_epoch + 1, **progress.best},
    )
    bundle.save(folder, model, description, history.to_csv(index=False, lineterminator="\n"))
    shutil.rmtree(checkpoints, ignore_errors=True)
    return progress.seconds


class Batches(keras.utils.PyDataset):
    """Batches of clips uint8 (B, T, H, W, 3) and one-hot labels float32 (B, classes).

    In training they are shuffled anew each epoch, from the seed and the epoch alone. Where the
    model takes fewer frames than the store has, one comes out of each equal part of the clip: a
    random one in training, else the middle one.
    """

    def __init__(
        self, clipset: ClipSet, classes: int, frames: int, batch_size: int, seed: int | None = None
    ) -> None:
        super().__init__(workers=2, max_queue_size=8)  # threads that read ahead
        self.clipset = clipset
        self.one_hot = np.eye(classes, dtype=np.float32)
        self.frames = frames
        self.batch_size = batch_size
        self.seed = seed  # None: not for training
        self.start(0)

    def start(self, epoch: int) -> None:
        """Put the clips into the order of this epoch, counted from 0."""
        self.epoch = epoch
        self.order = np.arange(len(self.clipset))
        if self.seed is not None:
            np.random.default_rng((self.seed, epoch)).shuffle(self.order)

    def on_epoch_end(self) -> None:
        self.start(self.epoch + 1)

    def __len__(self) -> int:
        return math.ceil(len(self.clipset) / self.batch_size)

    def __getitem__(self, index: int):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        batch = self.clipset.read(rows)
        if self.frames < batch.shape[1]:
            batch = batch[
                np.arange(len(rows))[:, None], self._chosen(len(rows), batch.shape[1], index)
            ]
        return batch, self.one_hot[self.clipset.labels[rows]]

    def _chosen(self, clips: int, stored: int, index: int) -> NDArray[np.int64]:
        """The frames to take of each clip: (clips, frames)."""
        if self.seed is None:
            return np.tile(frame_indices(stored, self.frames), (clips, 1))
        edges = np.linspace(0, stored, self.frames + 1)
        rng = np.random.default_rng((self.seed, self.epoch, index))
        return rng.uniform(edges[:-1], edges[1:], (clips, self.frames)).astype(np.int64)


class Progress(keras.callbacks.Callback):
    """Early stopping, checkpoints and curves, all from one record that survives a kill.

    After each epoch the weights, with the optimizer's and the random generators', and the
    record go to `folder`; the weights of the best epoch are kept beside them.
    """

    def __init__(self, folder: Path, identity: str, patience: int, live: Any) -> None:
        super().__init__()
        self.folder = folder
        self.identity = identity
        self.patience = patience
        self.live = live
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.seconds = 0.0

    @property
    def best(self) -> dict[str, float]:
        return self.history[self.best_epoch]

    def resume(self, model: keras.Model) -> int:
        """Take up what an earlier run with the same identity left; return its epochs."""
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
        self.history = state["history"]
        self.best_epoch = state["best_epoch"]
        self.seconds = state["seconds"]
        for row in self.history:
            self._draw(row)
        return len(self.history)

    @property
    def finished(self) -> bool:
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
        if row["val_loss"] < self.best["val_loss"] or epoch == 0:
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


def _random_states(model: keras.Model) -> list[keras.Variable]:
    """The states of the random layers, which Keras leaves out of saved weights."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def _start_afresh(seed: int) -> None:
    # names of layers count up within a process, and are part of the bundle
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def _trainable(model: keras.Model, params: Params, training: Training, steps: int) -> keras.Model:
    """The model behind its augmentation, compiled; both share the weights."""
    clip = keras.Input(model.input_shape[1:], dtype="uint8")
    augmented = augmentation(params.augment, model.input_shape[1:], params.seed)(clip)
    wrapped = keras.Model(clip, model(augmented))
    wrapped.compile(
        optimizer=_optimizer(training, steps),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=training.label_smoothing),
        metrics=["accuracy"],
    )
    return wrapped


def _optimizer(training: Training, steps: int) -> keras.optimizers.Optimizer:
    """Linear warm-up, then cosine decay to zero over all steps (Loshchilov and Hutter, 2017)."""
    warmup = round(training.warmup * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else training.learning_rate,
        decay_steps=max(1, steps - warmup),
        warmup_target=training.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    decay = {"weight_decay": training.weight_decay} if training.optimizer == "adamw" else {}
    return keras.optimizers.get(
        {"class_name": training.optimizer, "config": {"learning_rate": rate, **decay}}
    )


def _class_weights(labels: NDArray[np.int64], training: Training) -> dict[int, float] | None:
    if training.class_weights == "none":
        return None
    from sklearn.utils.class_weight import compute_class_weight

    classes = np.unique(labels)
    weights = compute_class_weight("balanced", classes=classes, y=labels)
    return {int(k): float(weight) for k, weight in zip(classes, weights, strict=True)}


def _live(folder: Path) -> Any:
    from dvclive.live import Live

    # kinoflow makes its own pages and experiments
    return Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None, monitor_system=False)


def _identity(
    candidate: Candidate, params: Params, training: Training, data: str, versions: dict[str, str]
) -> str:
    """What a checkpoint must share with a run for the run to go on from it."""
    parts = [
        candidate.model_dump(),
        training.model_dump(),
        params.augment.model_dump(),
        vars(params.clip),
        params.seed,
        data,
        versions,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
