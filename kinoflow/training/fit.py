"""Train one candidate: fit its model to clips and write the weights that are kept as a bundle."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from kinoflow import bundle
from kinoflow.config import Augment, Run
from kinoflow.data import clips, tables
from kinoflow.data.clips import ClipSet, Restyled
from kinoflow.models import build
from kinoflow.system.errors import UserError
from kinoflow.training import calibration, curves, export, optimization
from kinoflow.training.batches import Augmentation, AugmentedBatches, ClipBatches
from kinoflow.training.checkpoints import Checkpoints, code_md5, identity
from kinoflow.training.distillation import LabelAccuracy, TaughtBatches, TaughtLoss, Teacher
from kinoflow.training.epochs import callbacks_of
from kinoflow.training.history import History
from kinoflow.training.lessons import Lesson
from kinoflow.workspace import Workspace


@dataclass(frozen=True)
class TrainingData:
    """What a candidate is trained on."""

    labels: tuple[str, ...]  # names of the classes, by index
    train: ClipSet
    val: ClipSet | None  # None: no clips are left to validate on
    md5: str  # of all data: the clips, their labels and sides of the split
    val_recordings: int  # how many recordings the validation clips were cut from
    seconds: float | None = None  # median length of the training videos; None: none says
    restyled: Path | None = None  # folder with the clips in other styles; None: there is none

    @classmethod
    def of(cls, workspace: Workspace, table: pd.DataFrame | None = None) -> "TrainingData":
        """The training and validation clips of a work tree.

        Args:
            workspace: the work tree.
            table: the clips and their sides, as `kinoflow.data.clips.split_table` gives them; the
                split if not given.
        """
        table = clips.split_table(workspace) if table is None else table
        labels, sets = clips.load_sets(workspace, ("train", "val"), table)
        return cls(
            labels=labels,
            train=sets["train"],
            val=sets["val"] if len(sets["val"]) else None,
            md5=clips.data_md5(workspace, table),
            val_recordings=table.loc[table["split"] == "val", "group"].nunique(),
            seconds=_median(table.loc[table["split"] == "train", "seconds"]),
            restyled=workspace.restyled,
        )

    def painted(self, settings: Augment) -> list[Restyled]:
        """The same clips in the styles that training shows them in; none if it does not.

        Raises UserError for a style that the clips were not painted in.
        """
        if not settings.restyle or self.restyled is None:
            return []
        return [Restyled.of(self.restyled, style) for style in settings.styles]


def _median(seconds: pd.Series) -> float | None:
    known = seconds[seconds > 0]
    return round(float(known.median()), 3) if len(known) else None


@dataclass(frozen=True)
class Outputs:
    """The folders that a training writes to."""

    bundle: Path  # the trained model
    curves: Path | None  # the scores of each epoch, as DVCLive writes them; None: nowhere
    checkpoints: Path  # the checkpoint of a killed training; deleted at the end

    @classmethod
    def of(cls, workspace: Workspace, candidate: str) -> "Outputs":
        """The folders of one candidate in a work tree."""
        return cls(
            bundle=workspace.bundle(candidate),
            curves=workspace.training(candidate),
            checkpoints=workspace.checkpoints(candidate),
        )


@dataclass(frozen=True)
class Refit:
    """How an earlier training is done once more with its validation clips as training clips."""

    epochs: int  # after which to stop: those that were best in the earlier training
    temperature: float  # of the earlier training: no clips are left to fit one to


def fit(
    run: Run,
    data: TrainingData,
    outputs: Outputs,
    refit: Refit | None = None,
    lesson: Lesson | None = None,
) -> float:
    """Train the candidate of a run and write its bundle.

    A killed training resumes after its last complete epoch, and gives the same bundle as one that
    was not killed.

    Args:
        run: the settings.
        data: what to train on.
        outputs: where to write.
        refit: for a training without validation clips; its last epoch is kept. The learning rate
            follows the schedule for all epochs of the settings.
        lesson: what a student is taught by; none for other candidates.

    Returns:
        The seconds spent in epochs, including those before a kill.

    Raises UserError for options that the model does not have, classes in `flip_except` that do
    not exist, a teacher of other classes, and a loss that is not finite.
    """
    if (data.val is None) != (refit is not None):
        raise ValueError("a training without validation clips is told when to stop, and no other")
    if bool(run.candidate.teacher) != (lesson is not None):
        raise ValueError("a student is given a lesson, and no other candidate")
    batches = taught_batches(run, data, lesson) if lesson else augmented_batches(run, data)
    validation = None if data.val is None else _batches(run, data, data.val)
    steps = len(batches) * run.training.epochs
    model = compile_model(run, len(data.labels), steps, lesson)
    versions = bundle.library_versions()
    weights = export.weights_md5(run.candidate.options)
    trained_by = identity(
        run,
        data=data.md5,
        code=code_md5(),
        weights=weights,
        styles=[store.network for store in data.painted(run.augment)],
        versions=versions,
        refit=vars(refit) if refit else None,
        lesson=lesson.identity if lesson else None,
    )
    checkpoints = Checkpoints(outputs.checkpoints, trained_by)
    history = History(None if refit else run.training.patience)
    epochs = refit.epochs if refit else run.training.epochs

    checkpoints.resume(model, history)
    if history:
        print(f"{run.name}: going on after epoch {len(history)}", file=sys.stderr)
    with curves.open_curves(outputs.curves) as live:
        for scores in history.scores:
            curves.draw(live, scores)
        if len(history) < epochs and not history.stopped:
            batches.set_epoch(len(history))
            model.fit(
                batches,
                validation_data=validation,
                epochs=epochs,
                initial_epoch=len(history),
                callbacks=callbacks_of(run, history, checkpoints, live),
                shuffle=False,  # the batches are, by the epoch
                verbose=0,
            )
    checkpoints.load_best(model)

    description = bundle.Description(
        name=run.name,
        labels=data.labels,
        clip=run.clip,
        frames=run.model_clip.frames,
        views=run.views,
        flip=run.flip,
        candidate=run.candidate.model_dump(),
        weights=weights,
        seed=run.seed,
        data=data.md5,
        versions=versions,
        metrics={"epoch": history.best_epoch + 1, **history.best},
        trained_on=("train", "val") if refit else ("train",),
        refit=refit is not None,
        seconds=data.seconds,
        teachers=lesson.md5s if lesson else {},
    )
    plain = _without_optimizer(model, run, len(data.labels))
    uncalibrated = bundle.Bundle(outputs.bundle, description, trained=plain)
    if data.val is None:
        assert refit is not None
        temperature = refit.temperature
    else:
        temperature = calibration.temperature_on(uncalibrated, data.val, data.val_recordings)
    description = description.model_copy(update={"temperature": temperature})
    export.save(outputs.bundle, plain, description, tables.text(history.table(), tables.HISTORY))
    checkpoints.delete()
    return history.seconds


def build_model(run: Run, classes: int, precision: str) -> keras.Model:
    """The candidate's model with its first weights; the same seed gives the same weights.

    Args:
        run: the settings.
        classes: how many classes there are.
        precision: in which its layers compute: float32, bfloat16 or float16. Weights are float32.
    """
    # Keras numbers the layers of a process by kind; the bundle holds these names, so start anew
    keras.utils.clear_session()
    keras.utils.set_random_seed(run.seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        return build(
            run.candidate.model,
            stored_clip=run.clip,
            model_clip=run.model_clip,
            classes=classes,
            options=run.candidate.options,
        )
    finally:
        keras.config.set_dtype_policy(before)


def compile_model(run: Run, classes: int, steps: int, lesson: Lesson | None = None) -> keras.Model:
    """The candidate's model, ready for training in `steps` batches over all epochs."""
    training = run.training
    model = build_model(run, classes, training.precision)
    smoothing = training.label_smoothing
    model.compile(
        optimizer=optimization.make_optimizer(training, steps),
        loss=TaughtLoss(lesson.settings.share, lesson.settings.temperature, smoothing)
        if lesson
        else keras.losses.CategoricalCrossentropy(label_smoothing=smoothing),
        metrics=[LabelAccuracy() if lesson else "accuracy"],
    )
    # TensorFlow would trace the first step twice if that made variables
    model.optimizer.build(model.trainable_variables)
    target = np.eye(classes, dtype=np.float32)[:1]
    model.compute_metrics(None, target, target)
    model.reset_metrics()
    return model


def _batches(run: Run, data: TrainingData, clipset: ClipSet) -> ClipBatches:
    return ClipBatches(
        clipset,
        classes=len(data.labels),
        frames=run.model_clip.frames,
        size=run.training.batch_size,
        masked=run.clip.padding == "mask",
    )


def augmented_batches(run: Run, data: TrainingData, frames: int | None = None) -> AugmentedBatches:
    """The batches that the candidate of a run is trained on.

    Args:
        run: the settings.
        data: what to train on.
        frames: how many frames to draw of each clip; as many as the model takes if not given.

    Raises UserError for classes in `flip_except` that do not exist.
    """
    unflipped = run.augment.flip_except
    if unknown := set(unflipped) - set(data.labels):
        raise UserError(
            f"augment.flip_except names {', '.join(sorted(unknown))}, which is no class: "
            f"there are {', '.join(data.labels)}"
        )
    return AugmentedBatches(
        data.train,
        Augmentation(
            run.augment,
            run.seed,
            frozenset(map(data.labels.index, unflipped)),
            tuple(store.folder for store in data.painted(run.augment)),
        ),
        optimization.class_weights(data.train.labels, len(data.labels), run.training),
        frames=frames or run.model_clip.frames,
        size=run.training.batch_size,
        masked=run.clip.padding == "mask",
    )


def taught_batches(run: Run, data: TrainingData, lesson: Lesson) -> TaughtBatches:
    """The batches that a student is trained on, with the mean answer of its teachers.

    As many frames are drawn of a clip as the student or one of its teachers takes. Each step sees
    as many more clips without labels as it takes to see all of them in an epoch, up to the size of
    a batch; where that is not enough, each epoch sees others.

    Args:
        run: the settings.
        data: what to train on.
        lesson: who teaches it.

    Raises UserError as `augmented_batches` does, and for a teacher of other classes or clips.
    """
    lesson.check(run, data.labels)
    takes = {name: each.description.frames for name, each in lesson.teachers.items()}
    own = run.model_clip.frames
    drawn = max(own, *takes.values())
    batches = augmented_batches(run, data, drawn)
    unlabelled = None
    if lesson.unlabelled:
        unlabelled = AugmentedBatches(
            lesson.unlabelled,
            # other changes than those of labelled clips; they are in no style but their own
            Augmentation(run.augment.model_copy(update={"restyle": 0.0}), run.seed + 1),
            np.ones(len(data.labels), np.float32),
            frames=drawn,
            size=min(run.training.batch_size, math.ceil(len(lesson.unlabelled) / len(batches))),
            masked=run.clip.padding == "mask",
        )
    teachers = [Teacher(each.forward, takes[name]) for name, each in lesson.teachers.items()]
    return TaughtBatches(batches, teachers, own, unlabelled)


def _without_optimizer(model: keras.Model, run: Run, classes: int) -> keras.Model:
    """The model without its optimizer, and in float32, so that all devices answer the same."""
    plain = build_model(run, classes, "float32")
    plain.set_weights(model.get_weights())
    return plain
