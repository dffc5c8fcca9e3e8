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
from kinoflow.reports import figures, metrics
from kinoflow.reports.predictions import predict, prediction_table
from kinoflow.reports.records import CandidateScores, Metrics, Scores, Timing, TrainingTime
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
    val_answers = predict(model, val.clips, "val")
    test_answers = predict(model, test.clips, "test")
    history = tables.read(model.folder / bundle.HISTORY, tables.HISTORY)
    _write_errors(test.clips, test_answers, model.labels, folder)
    figures.curves(history, int(model.description.metrics["epoch"])).savefig(folder / "curves.png")
    report = Metrics(
        val=_scores(val, val_answers, params, seed),
        test=_scores(test, test_answers, params, seed),
        parameters=model.model.count_params(),
        size_mb=round((model.folder / bundle.MODEL).stat().st_size / 1e6, 3),
        epochs=len(history),
    )
    report.write(folder / "metrics.json")
    return report


def _scores(side: Side, answers: NDArray[np.float32], params: Evaluation, seed: int) -> Scores:
    values = metrics.scores(
        side.clips.labels,
        answers,
        side.groups,
        bootstrap=params.bootstrap,
        bins=params.calibration_bins,
        seed=seed,
    )
    return Scores.model_validate(values)


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
    for row in range(min(count, len(clipset)) + 1):
        clip = clipset.read(np.array([row % len(clipset)]))
        start = time.perf_counter()
        model.predict(clip)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:]) * 1000)  # the first pays for compilation


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
        latency = round(latency_ms(model, sets["test"], params.evaluation.latency_clips), 2)
        Timing(latency_ms=latency, train_seconds=trained.train_seconds).write(
            folder / "timing.json"
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
