"""Score one candidate on validation and test clips, and draw what it gets wrong."""

import argparse
import time
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
from kinoflow.reports import figures, metrics, orders
from kinoflow.reports.predictions import predict, prediction_table
from kinoflow.reports.records import (
    Accuracy,
    CandidateScores,
    Evaluated,
    Metrics,
    Orders,
    Scores,
    Timing,
    TrainingTime,
)
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run


@dataclass(frozen=True)
class Side:
    """The clips of one side of the split, and the recording (N,) that each was cut from."""

    clips: ClipSet
    groups: NDArray


def evaluate(
    model: Bundle, *, val: Side, test: Side, params: Evaluation, seed: int, folder: Path
) -> Metrics:
    """Write the report on a bundle to `folder`, and return what its metrics.json holds.

    No file holds a date or a duration: the same bundle and clips give the same bytes.

    Args:
        model: the bundle.
        val: the validation clips.
        test: the test clips; tables and pictures are of these.
        params: the section `evaluation` of params.yaml.
        seed: seed of the resampling behind the intervals.
        folder: an empty folder.
    """
    val_answers = _answers(model, val, "val")
    test_answers = _answers(model, test, "test")
    history = tables.read(model.folder / bundle.HISTORY, tables.HISTORY)
    _write_errors(test.clips, test_answers.calibrated, model.labels, folder)
    reliability = _reliability(test.clips, test_answers, params.calibration_bins)
    tables.write(reliability, folder / "reliability.csv", tables.RELIABILITY)
    figures.curves(history, int(model.description.metrics["epoch"])).savefig(folder / "curves.png")
    report = Metrics(
        val=_scores(val, val_answers, params, seed),
        test=_scores(test, test_answers, params, seed),
        parameters=model.model.count_params(),
        size_mb=round((model.folder / bundle.MODEL).stat().st_size / 1e6, 3),
        epochs=len(history),
        temperature=model.description.temperature,
        time=_write_time(model, test, test_answers, params, seed, folder),
    )
    report.write(folder / "metrics.json")
    return report


@dataclass(frozen=True)
class _Answers:
    """Class probabilities (N, classes) of the clips of a side."""

    calibrated: NDArray[np.float32]
    uncalibrated: NDArray[np.float32]


def _answers(model: Bundle, side: Side, name: str) -> _Answers:
    pooled = predict(model, side.clips, name)
    return _Answers(model.calibrated(pooled), pooled)


def _scores(side: Side, answers: _Answers, params: Evaluation, seed: int) -> Scores:
    values = metrics.scores(
        side.clips.labels,
        answers.calibrated,
        side.groups,
        uncalibrated=answers.uncalibrated,
        bootstrap=params.bootstrap,
        bins=params.calibration_bins,
        seed=seed,
    )
    return Scores.model_validate(values)


def _reliability(clipset: ClipSet, answers: _Answers, bins: int) -> pd.DataFrame:
    """The table `tables.RELIABILITY`."""
    parts = {False: answers.uncalibrated, True: answers.calibrated}
    return pd.concat(
        metrics.reliability(clipset.labels, probabilities, bins).assign(calibrated=calibrated)
        for calibrated, probabilities in parts.items()
    )


def _write_time(
    model: Bundle, test: Side, answers: _Answers, params: Evaluation, seed: int, folder: Path
) -> Orders | None:
    """Write the accuracy of each class by the order of frames; return that of all classes.

    With `evaluation.orders` off, write a table without rows, and return None.
    """
    path = folder / "time.csv"
    if not params.orders:
        tables.write(tables.empty(tables.TIME), path, tables.TIME)
        return None
    truth = test.clips.labels
    other = orders.predict_reordered(model, test.clips, seed)
    as_is = answers.calibrated.argmax(axis=1)
    hits = pd.DataFrame({name: found == truth for name, found in {"as_is": as_is, **other}.items()})
    classes = hits.groupby(truth)
    table = classes.mean().reindex(range(len(model.labels)))
    table["clips"] = classes.size().reindex(table.index, fill_value=0)
    table["label"] = model.labels
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
    params.resolve(name)  # raises UserError unless it is a candidate
    model = bundle.load(workspace.bundle(name))
    labels, sets = clips.load_sets(workspace, ("val", "test"))
    if labels != model.labels:
        raise UserError(f"{name} was trained for other classes: train it again")
    groups = clips.split_table(workspace).set_index("video")["group"]
    sides = {
        side: Side(clipset, groups[list(clipset.videos)].to_numpy())
        for side, clipset in sets.items()
    }
    trained = TrainingTime.read(workspace.training(name) / "timing.json")
    with files.replacing_folder(workspace.report(name)) as folder:
        report = evaluate(
            model,
            val=sides["val"],
            test=sides["test"],
            params=params.evaluation,
            seed=params.seed,
            folder=folder,
        )
        count = params.evaluation.latency_clips
        latency = round(latency_ms(model, sets["test"], count), 2)
        seconds = tables.read(workspace.catalog, tables.CATALOG).set_index("video")["seconds"]
        Timing(
            latency_ms=latency,
            train_seconds=trained.train_seconds,
            video_seconds_per_s=video_seconds_per_s(latency, sets["test"], seconds, count),
        ).write(folder / "timing.json")
    report_files = sorted(workspace.report(name).iterdir())
    Evaluated(files={path.name: files.md5(path) for path in report_files}).write(
        workspace.evaluated(name)
    )
    # selection is given no test scores, so that it cannot choose by them
    CandidateScores(
        val=report.val,
        parameters=report.parameters,
        size_mb=report.size_mb,
        latency_ms=latency,
    ).write(workspace.scores(name))
    test = report.test
    print(
        f"evaluate: {name} has test accuracy {test.accuracy:.3f} "
        f"({test.accuracy_low:.3f} to {test.accuracy_high:.3f})"
    )


if __name__ == "__main__":
    run(main)
