"""Score one candidate on validation and test clips, and draw what it gets wrong."""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow import bundle, config
from kinoflow.bundle import Bundle
from kinoflow.config import Evaluation
from kinoflow.data import clips, tables
from kinoflow.data.clips import ClipSet
from kinoflow.reports import figures, metrics
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import progress
from kinoflow.workspace import Workspace, run

# clips read from the store at a time
_CHUNK = 64


def evaluate(
    model: Bundle,
    sets: dict[str, ClipSet],
    groups: dict[str, NDArray],
    params: Evaluation,
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Write the report on a bundle to `folder` and return what metrics.json holds.

    `sets` and `groups` hold the clips of "val" and "test" and the recording of each. All but
    timing.json is the same whenever the bundle and the clips are.
    """
    answers = {side: predict(model, clipset, side) for side, clipset in sets.items()}
    history = tables.read(model.folder / bundle.HISTORY, tables.HISTORY)
    report: dict[str, Any] = {
        side: metrics.scores(
            clipset.labels,
            answers[side],
            groups[side],
            bootstrap=params.bootstrap,
            bins=params.calibration_bins,
            seed=seed,
        )
        for side, clipset in sets.items()
    }
    test, labels = sets["test"], model.labels
    predicted = answers["test"].argmax(axis=1)
    matrix = metrics.confusion(test.labels, predicted, len(labels))

    for name, table, schema in (
        ("predictions", predictions(test, answers["test"], labels), tables.PREDICTIONS),
        ("per_class", metrics.per_class(test.labels, predicted, labels), tables.PER_CLASS),
        ("most_confused", metrics.most_confused(matrix, labels), tables.MOST_CONFUSED),
        ("confusion", _pairs(test.labels, predicted, labels), tables.CONFUSION),
    ):
        tables.write(table, folder / f"{name}.csv", schema)
    figures.confusion(matrix, labels).savefig(folder / "confusion.png")
    figures.curves(history).savefig(folder / "curves.png")
    report["parameters"] = model.model.count_params()
    report["size_mb"] = round((model.folder / bundle.MODEL).stat().st_size / 1e6, 3)
    report["epochs"] = len(history)
    files.write_json(folder / "metrics.json", report)
    return report


def predict(model: Bundle, clipset: ClipSet, what: str) -> NDArray[np.float32]:
    """Probabilities (N, classes) for all clips of a set, read a chunk at a time."""
    starts = range(0, len(clipset), _CHUNK)
    return np.concatenate(
        [
            model.predict(clipset.read(np.arange(start, min(start + _CHUNK, len(clipset)))))
            for start in progress(starts, f"evaluate {what} (steps of {_CHUNK} clips)")
        ]
    )


def latency_ms(model: Bundle, clipset: ClipSet, count: int) -> float:
    """Median milliseconds of the model's answer to a single clip, decoding not included."""
    taken = []
    for row in range(min(count, len(clipset)) + 1):
        clip = clipset.read(np.array([row % len(clipset)]))
        start = time.perf_counter()
        model.predict(clip)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:]) * 1000)  # the first pays for compilation


def predictions(
    clipset: ClipSet, answers: NDArray[np.float32], labels: tuple[str, ...]
) -> pd.DataFrame:
    """One row per clip: video, label, predicted, and p_<label> for every class."""
    names = np.array(labels)
    table = pd.DataFrame(
        {
            "video": clipset.videos,
            "label": names[clipset.labels],
            "predicted": names[answers.argmax(axis=1)],
        }
    )
    return table.join(pd.DataFrame(answers, columns=[f"p_{label}" for label in labels]))


def _pairs(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], labels: tuple[str, ...]
) -> pd.DataFrame:
    names = np.array(labels)
    return pd.DataFrame({"actual": names[truth], "predicted": names[predicted]})


def main(workspace: Workspace) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    parser.add_argument("candidate", help="one of the candidates in params.yaml")
    name = parser.parse_args().candidate
    params = config.load(workspace.params)
    params.resolve(name)
    model = bundle.load(workspace.bundle(name))
    labels, sets = clips.load_sets(workspace, ("val", "test"))
    if labels != model.labels:
        raise UserError(f"{name} was trained for other classes: train it again")
    groups = clips.split_table(workspace).set_index("video")["group"]
    trained = files.read_json(workspace.training(name) / "timing.json")
    with files.replacing_folder(workspace.report(name)) as folder:
        report = evaluate(
            model,
            sets,
            {side: groups[list(found.videos)].to_numpy() for side, found in sets.items()},
            params.evaluation,
            params.seed,
            folder,
        )
        latency = round(latency_ms(model, sets["test"], params.evaluation.latency_clips), 2)
        files.write_json(folder / "timing.json", {"latency_ms": latency, **trained})
    # selection is given no test scores, so that it cannot choose by them
    known = {name: report[name] for name in ("val", "parameters", "size_mb")}
    files.write_json(workspace.scores(name), {**known, "latency_ms": latency})
    test = report["test"]
    print(
        f"evaluate: {name} has test accuracy {test['accuracy']:.3f} "
        f"({test['accuracy_low']:.3f} to {test['accuracy_high']:.3f})"
    )


if __name__ == "__main__":
    run(main)
