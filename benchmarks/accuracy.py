"""Accuracy of candidates over the published splits of a data set, each trained and scored anew.

    python -m benchmarks.accuracy benchmarks/accuracy.yaml --into accuracy.json [--test]

The file is an overlay on params.yaml: the clip, the candidates, how they are trained. What
`accuracy.json` already holds is not run again. Without `--test` only the validation groups of each
fold are scored: choose settings by these. Since they are few, `--repeats` also draws others from
the same training lists and begins with other weights. The videos are those of `ucf101-mini` in the
folder named by KINOFLOW_REAL_DATA, with the published lists beside them in `ucfTrainTestlist`.
"""

import argparse
import itertools
import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.accuracy_tables import FOLDS, Results, choices, summary
from benchmarks.repository import REPOSITORY
from kinoflow import bundle
from kinoflow.config import Params, Run, checked
from kinoflow.data import catalog, tables
from kinoflow.data.clips import ClipSet, ClipStore
from kinoflow.data.extraction import extract_clip
from kinoflow.reports.predictions import predict
from kinoflow.settings import merge
from kinoflow.system import documents, errors, files, terminal
from kinoflow.workspace import Workspace
from stages.split import divide

# by name, the views of a clip that an answer averages, as changes to the bundle's description
VIEWS: dict[str, dict[str, Any]] = {
    f"{views} view{'s' * (views > 1)}{', mirrored too' * flip}": {"views": views, "flip": flip}
    for views in (1, 3, 6)
    for flip in (False, True)
}


def read_params(overlay: Path) -> Params:
    """params.yaml with the file `overlay` laid over it, as a recipe's params are.

    Environment variables in the file, such as $KINOFLOW_REAL_DATA, are replaced by their values.
    """
    text = os.path.expandvars(overlay.read_text(encoding="utf-8"))
    changes = documents.parse_yaml(text, overlay)
    return checked(merge(documents.read_yaml(REPOSITORY.params), changes), overlay)


def videos(data: Path) -> pd.DataFrame:
    """The columns of a catalog that a split needs, for all videos in class folders of `data`."""
    names = sorted(path.relative_to(data).as_posix() for path in data.glob("*/*.avi"))
    return pd.DataFrame(
        {
            "video": names,
            "label": [name.partition("/")[0] for name in names],
            "group": [catalog.group_of(name) for name in names],
            "readable": True,
        }
    )


def extract(table: pd.DataFrame, data: Path, params: Params, store: Path) -> None:
    """Sample the videos of `table` that the folder of clips `store` lacks."""
    for video in terminal.progress(table["video"].tolist(), "extract"):
        target = ClipStore(store).path(video)
        if not target.exists():
            extract_clip(data / video, params.clip, target)


def clip_sets(table: pd.DataFrame, store: Path) -> tuple[tuple[str, ...], dict[str, ClipSet]]:
    """The labels of a split in alphabetical order, and the clips of each of its sides.

    Args:
        table: video, label and split of each video.
        store: the folder of clips.
    """
    labels = tuple(sorted(table["label"].unique()))
    number = {label: k for k, label in enumerate(labels)}
    sets = {
        str(name): ClipSet(
            store, tuple(rows["video"]), rows["label"].map(number).to_numpy(np.int64)
        )
        for name, rows in table.groupby("split")
    }
    return labels, sets


def trained(
    run: Run,
    labels: tuple[str, ...],
    sets: dict[str, ClipSet],
    recordings: int,
    folder: Path,
    restyled: Path | None = None,
) -> bundle.Bundle:
    """Train a candidate on the side `train` of some clips, validated on `val`.

    Args:
        run: the candidate's settings.
        labels: the name of each class.
        sets: the clips by side.
        recordings: how many recordings the validation clips are of.
        folder: where the bundle is written.
        restyled: a folder with the same clips in other styles.
    """
    from kinoflow.training.fit import Outputs, TrainingData, fit

    outputs = Outputs.of(Workspace(folder), run.name)
    data = TrainingData(labels, sets["train"], sets["val"], "", recordings, restyled=restyled)
    fit(run, data, outputs)
    return bundle.load(outputs.bundle)


def score(
    run: Run, table: pd.DataFrame, store: Path, *, side: str, views: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Train a candidate on one split and score it, clip by clip.

    Args:
        run: the candidate's settings.
        table: video, label, group and split of each video.
        store: the folder of clips.
        side: which side of the split is scored: val or test.
        views: other views to score as well, like those in `VIEWS`.

    Returns:
        The scores by the candidate's name, and by "candidate, view" for each of `views`.
    """
    labels, sets = clip_sets(table, store)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        recordings = table.loc[table["split"] == "val", "group"].nunique()
        model = trained(run, labels, sets, recordings, Path(folder))
        minutes = (time.monotonic() - started) / 60
        scored_clips = sets[side]
        history = tables.read(model.folder / bundle.HISTORY, tables.HISTORY)
        same = {
            "groups": table.loc[table["split"] == side, "group"].tolist(),
            "labels": scored_clips.labels.tolist(),
            "minutes": round(minutes, 2),
            "parameters": model.model.count_params(),
            "epochs": len(history),
            "train_accuracy": float(history["accuracy"].max()),
        }
        scored = {}
        for view, changes in {"": {}, **views}.items():
            name = f"{run.name}, {view}" if view else run.name
            viewed = replace(model, description=model.description.model_copy(update=changes))
            predicted = predict(viewed, scored_clips, name).argmax(axis=1)
            hits = (predicted == scored_clips.labels).tolist()
            scored[name] = {"hits": hits, "predicted": predicted.tolist(), **same}
        return scored


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("overlay", type=Path)
    parser.add_argument("--into", type=Path, required=True, help="what was measured, as JSON")
    parser.add_argument("--test", action="store_true", help="score test groups, not validation")
    parser.add_argument("--folds", type=int, nargs="+", default=FOLDS, choices=FOLDS)
    parser.add_argument("--repeats", type=int, default=1, help="divisions of each fold's training")
    parser.add_argument("--views", action="store_true", help="score other views at test time too")
    parser.add_argument("--only", nargs="+", help="candidates; all if not given")
    parser.add_argument("--bases", nargs="+", help="candidates that the others vary: r3d, r3d_...")
    arguments = parser.parse_args()
    real = os.environ.get("KINOFLOW_REAL_DATA")
    if not real:
        raise errors.UserError("set KINOFLOW_REAL_DATA to the folder that holds ucf101-mini/")
    data = Path(real) / "ucf101-mini"
    params = read_params(arguments.overlay)
    if unknown := set(arguments.bases or ()) - params.candidates.keys():
        raise errors.UserError(f"--bases: {arguments.overlay} has no {', '.join(sorted(unknown))}")
    table = videos(data)
    store = (
        REPOSITORY.work / "accuracy" / "x".join(str(part) for part in vars(params.clip).values())
    )
    extract(table, data, params, store)
    results: Results = files.read_json(arguments.into) if arguments.into.exists() else {}
    side, views = ("test" if arguments.test else "val"), (VIEWS if arguments.views else {})
    with tempfile.TemporaryDirectory() as made:
        lists = Path(made) / ".lists"
        shutil.copytree(Path(real) / "ucfTrainTestlist", lists)
        for repeat, fold in itertools.product(range(arguments.repeats), arguments.folds):
            key = f"{fold}.{repeat}" if repeat else str(fold)
            seeded = params.model_copy(update={"seed": params.seed + repeat})
            split = params.split.model_copy(update={"method": "official", "fold": fold})
            sides = divide(table, split, seeded.seed, lists.parent).drop(columns="group")
            known = sides.merge(table, on="video")
            for name in arguments.only or params.candidates:
                if key in results.get(name, {}):
                    continue
                run = seeded.resolve(name)
                scores = score(run, known, store, side=side, views=views)
                for scored_as, scored in scores.items():
                    results.setdefault(scored_as, {})[key] = scored
                    print(f"{scored_as}, split {key}: {np.mean(scored['hits']):.3f}")
                files.write_json(arguments.into, results)
    print(summary(results))
    if arguments.bases:
        print(choices(results, arguments.bases))


if __name__ == "__main__":
    errors.run(main)
