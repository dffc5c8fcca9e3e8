"""Score one candidate on validation and test clips, and draw what it gets wrong."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow import bundle, config
from kinoflow.bundle import Bundle
from kinoflow.config import Evaluation
from kinoflow.data import clips, tables
from kinoflow.data.clips import ClipSet
from kinoflow.reports import figures, metrics, orders, scoring
from kinoflow.reports.predictions import prediction_table
from kinoflow.reports.records import (
    Accuracy,
    CandidateScores,
    Evaluated,
    Metrics,
    Orders,
    Timing,
    TrainingTime,
)
from kinoflow.reports.scoring import Answers, Side
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run


@dataclass(frozen=True)
class Part:
    """A bundle, and the clips that it is scored on: those of the split, or of one fold."""

    model: Bundle
    val: Side
    test: Side


def evaluate(
    model: Bundle,
    parts: Sequence[Part],
    *,
    params: Evaluation,
    seed: int,
    folder: Path,
    folds: int | None = None,
) -> Metrics:
    """Write the report on a bundle to `folder`, and return what its metrics.json holds.

    No file holds a date or a duration: the same bundle and clips give the same bytes.

    Args:
        model: the bundle of the candidate.
        parts: that bundle with the clips of the split. With folds, for each of them the bundle that
            was trained on it, and its clips; the answers of all folds are scored together. Tables
            and pictures are of the test clips.
        params: the section `evaluation` of params.yaml.
        seed: seed of the resampling behind the intervals.
        folder: an empty folder.
        folds: how many folds there are; None without folds.
    """
    val, test = (scoring.join([getattr(part, side) for part in parts]) for side in ("val", "test"))
    val_answers = scoring.join_answers([scoring.answer(p.model, p.val, "val") for p in parts])
    test_answers = scoring.join_answers([scoring.answer(p.model, p.test, "test") for p in parts])
    history = tables.read(model.folder / bundle.HISTORY, tables.HISTORY)
    _write_errors(test.clips, test_answers.calibrated, model.labels, folder)
    reliability = _reliability(test.clips, test_answers, params.calibration_bins)
    tables.write(reliability, folder / "reliability.csv", tables.RELIABILITY)
    figures.curves(history, int(model.description.metrics["epoch"])).savefig(folder / "curves.png")
    report = Metrics(
        val=scoring.score(val, val_answers, params, seed),
        test=scoring.score(test, test_answers, params, seed),
        parameters=model.model.count_params(),
        size_mb=round((model.folder / bundle.MODEL).stat().st_size / 1e6, 3),
        epochs=len(history),
        temperature=model.description.temperature,
        time=_write_time(parts, test, test_answers, params, seed, folder),
        folds=folds,
    )
    report.write(folder / "metrics.json")
    return report


def _reliability(clipset: ClipSet, answers: Answers, bins: int) -> pd.DataFrame:
    """The table `tables.RELIABILITY`."""
    parts = {False: answers.uncalibrated, True: answers.calibrated}
    return pd.concat(
        metrics.reliability(clipset.labels, probabilities, bins).assign(calibrated=calibrated)
        for calibrated, probabilities in parts.items()
    )


def _write_time(
    parts: Sequence[Part],
    test: Side,
    answers: Answers,
    params: Evaluation,
    seed: int,
    folder: Path,
) -> Orders | None:
    """Write the accuracy of each class by the order of frames; return that of all classes.

    With `evaluation.orders` off, write a table without rows, and return None.
    """
    path = folder / "time.csv"
    if not params.orders:
        tables.write(tables.empty(tables.TIME), path, tables.TIME)
        return None
    truth = test.clips.labels
    found = [orders.predict_reordered(part.model, part.test.clips, seed) for part in parts]
    other = {name: np.concatenate([each[name] for each in found]) for name in orders.ORDERS}
    as_is = answers.calibrated.argmax(axis=1)
    hits = pd.DataFrame({name: given == truth for name, given in {"as_is": as_is, **other}.items()})
    classes = hits.groupby(truth)
    labels = parts[0].model.labels
    table = classes.mean().reindex(range(len(labels)))
    table["clips"] = classes.size().reindex(table.index, fill_value=0)
    table["label"] = labels
    tables.write(table, path, tables.TIME)
    scored = {}
    for name in other:
        low, high = metrics.bootstrap_interval(
            hits[name].to_numpy(), test.groups, params.bootstrap, seed
        )
        values = {"accuracy": hits[name].mean(), "accuracy_low": low, "accuracy_high": high}
        scored[name] = Accuracy(**{key: round(float(value), 6) for key, value in values.items()})
    return Orders(**scored)


def _write_errors(
    clipset: ClipSet, answers: NDArray[np.float32], labels: tuple[str, ...], folder: Path
) -> None:
    """Write each answer, the scores of each class, and which classes are confused."""
    truth, predicted = clipset.labels, answers.argmax(axis=1)
    matrix = metrics.confusion(truth, predicted, len(labels))
    names = np.array(labels)
    pairs = pd.DataFrame({"actual": names[truth], "predicted": names[predicted]})
    for name, table, schema in (
        ("predictions", prediction_table(clipset, answers, labels), tables.PREDICTIONS),
        ("per_class", metrics.per_class(truth, predicted, labels), tables.PER_CLASS),
        ("most_confused", metrics.most_confused(matrix, labels), tables.MOST_CONFUSED),
        ("confusion", pairs, tables.CONFUSION),
    ):
        tables.write(table, folder / f"{name}.csv", schema)
    figures.confusion(matrix, labels).savefig(folder / "confusion.png")


def latency_ms(model: Bundle, clipset: ClipSet, count: int) -> float:
    """Median milliseconds that the model takes for one clip, over `count` clips.

    Reading a clip from the store is not counted.
    """
    taken = []
    for row in (0, *_timed(clipset, count)):
        clip = clipset.read(np.array([row]))
        start = time.perf_counter()
        model.predict(clip)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:]) * 1000)  # the first pays for compilation


def video_seconds_per_s(
    latency_ms: float, clipset: ClipSet, seconds: pd.Series, count: int
) -> float | None:
    """How many seconds of footage the model classifies in a second.

    Args:
        latency_ms: median milliseconds for one of `count` clips.
        clipset: the clips that were timed.
        seconds: the duration of each video by its name; 0 or missing where it is not known.
        count: how many clips were timed.

    Returns None if no duration is known.
    """
    footage = seconds[[clipset.videos[row] for row in _timed(clipset, count)]]
    known = footage[footage > 0]
    return round(float(known.mean()) / (latency_ms / 1000), 2) if len(known) else None


def _timed(clipset: ClipSet, count: int) -> list[int]:
    """The rows of the clips that are timed."""
    return [row % len(clipset) for row in range(1, min(count, len(clipset)) + 1)]


def main(workspace: Workspace) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    parser.add_argument("candidate", help="one of the candidates in params.yaml")
    name = parser.parse_args().candidate
    params = config.load(workspace.params)
    settings = params.resolve(name)
    model = bundle.load(workspace.bundle(name))
    folds = clips.fold_tables(workspace)
    split = clips.split_table(workspace)
    labels, sides = scoring.load_sides(workspace, ("val", "test"), split)
    if folds:
        trained_on = workspace.fold_models(name)
        parts = [
            Part(bundle.load(trained_on / str(fold)), found["val"], found["test"])
            for fold, table in folds.items()
            for _, found in [scoring.load_sides(workspace, ("val", "test"), table)]
        ]
    else:
        parts = [Part(model, sides["val"], sides["test"])]
    if any(labels != each.labels for each in (model, *(part.model for part in parts))):
        raise UserError(f"{name} was trained for other classes: train it again")
    # with folds, all test clips are among those that the bundle was trained on
    timed = sides["val" if folds else "test"]
    trained = TrainingTime.read(workspace.training(name) / "timing.json")
    with files.replacing_folder(workspace.report(name)) as folder:
        report = evaluate(
            model,
            parts,
            params=params.evaluation,
            seed=params.seed,
            folder=folder,
            folds=len(folds) or None,
        )
        count = params.evaluation.latency_clips
        latency = round(latency_ms(model, timed.clips, count), 2)
        seconds = tables.read(workspace.catalog, tables.CATALOG).set_index("video")["seconds"]
        Timing(
            latency_ms=latency,
            train_seconds=trained.train_seconds,
            video_seconds_per_s=video_seconds_per_s(latency, timed.clips, seconds, count),
        ).write(folder / "timing.json")
    report_files = sorted(workspace.report(name).iterdir())
    Evaluated(files={path.name: files.md5(path) for path in report_files}).write(
        workspace.evaluated(name)
    )
    # what `package` compares with: predictions.csv, unless that holds the answers of the folds
    answered = tables.read(workspace.report(name) / "predictions.csv", tables.PREDICTIONS)
    if folds:
        answers = scoring.answer(model, timed, "val, by the packaged model").calibrated
        answered = prediction_table(timed.clips, answers, labels)
    tables.write(answered, workspace.answers(name), tables.PREDICTIONS)
    # selection is given no test scores, so that it cannot choose by them
    scores = CandidateScores(
        val=report.val,
        parameters=report.parameters,
        size_mb=report.size_mb,
        latency_ms=latency,
    )
    scores.write(workspace.scores(name))
    if not settings.candidate.teacher:  # the best of these may teach students
        scores.write(workspace.teacher_scores(name))
    test = report.test
    print(
        f"evaluate: {name} has test accuracy {test.accuracy:.3f} "
        f"({test.accuracy_low:.3f} to {test.accuracy_high:.3f})"
    )


if __name__ == "__main__":
    run(main)
