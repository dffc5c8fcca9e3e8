"""Accuracy of candidates over the published splits of a data set, each trained and scored anew.

    python -m benchmarks.accuracy benchmarks/accuracy.yaml --into accuracy.json [--test]

The file is an overlay on params.yaml: the clip, the candidates, how they are trained. Folds and
candidates that `accuracy.json` holds already are not run again. Without `--test` only the
validation groups of each fold are scored: that is what to choose by. The videos are those of
`ucf101-mini` in the folder named by KINOFLOW_REAL_DATA, with the published lists beside them.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flows.recipe import overlaid
from kinoflow import bundle, catalog, clips, console, files, metrics
from kinoflow.clips import ClipSet
from kinoflow.params import Params, checked
from stages.evaluate import predict
from stages.split import divide

FOLDS = (1, 2, 3)


def settings(overlay: Path) -> Params:
    """params.yaml with another file laid over it, as a recipe's params are."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe")
    text = os.path.expandvars(overlay.read_text(encoding="utf-8"))
    return checked(overlaid(yaml.load(Path("params.yaml")), yaml.load(text)), overlay)


def videos(data: Path) -> pd.DataFrame:
    """The table of the videos in class folders, taken as readable."""
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
    """Sample all videos that the store lacks."""
    for video in console.progress(table["video"].tolist(), "extract"):
        target = clips.clip_path(store, video)
        if not target.exists():
            clips.decode(data / video, params.clip, target)


def score(name: str, params: Params, table: pd.DataFrame, store: Path, side: str) -> dict[str, Any]:
    """Train a candidate on one split and say how it does on `side`, clip by clip."""
    from kinoflow.training import train

    labels = tuple(sorted(table["label"].unique()))
    number = {label: k for k, label in enumerate(labels)}
    sets = {
        str(one): ClipSet(store, tuple(rows["video"]), rows["label"].map(number).to_numpy(np.int64))
        for one, rows in table.groupby("split")
    }
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        started = time.monotonic()
        train(name, params, labels, sets, "", folder / "m", folder / "c", folder / "k")
        minutes = (time.monotonic() - started) / 60
        model = bundle.load(folder / "m")
        chosen = sets[side]
        predicted = predict(model, chosen, name).argmax(axis=1)
        history = pd.read_csv(folder / "m" / bundle.HISTORY)
        return {
            "hits": (predicted == chosen.labels).tolist(),
            "groups": table.loc[table["split"] == side, "group"].tolist(),
            "labels": chosen.labels.tolist(),
            "predicted": predicted.tolist(),
            "minutes": round(minutes, 2),
            "parameters": model.model.count_params(),
            "epochs": len(history),
            "train_accuracy": float(history["accuracy"].max()),
        }


def summary(results: dict[str, dict[str, Any]]) -> str:
    """A row per candidate: the accuracy of each fold, their mean and its 95% interval."""
    lines = [
        "| candidate | parameters | split 1 | split 2 | split 3 | mean | 95% interval | macro F1 "
        "| minutes a split |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rows = []
    for name, folds in results.items():
        parts = [folds[str(fold)] for fold in FOLDS if str(fold) in folds]
        accuracies = [float(np.mean(part["hits"])) for part in parts]
        low, high = _interval(parts)
        scores = [_f1(part) for part in parts]
        cells = [f"{value:.3f}" for value in accuracies] + [""] * (len(FOLDS) - len(parts))
        minutes = max(part["minutes"] for part in parts)
        rows.append(
            (
                -float(np.mean(accuracies)),
                f"| {name} | {parts[0]['parameters']:,} | {' | '.join(cells)} "
                f"| {np.mean(accuracies):.3f} | {low:.3f} to {high:.3f} "
                f"| {np.mean(scores):.3f} | {minutes:.1f} |",
            )
        )
    return "\n".join(lines + [row for _, row in sorted(rows)])


def _interval(parts: list[dict[str, Any]]) -> tuple[float, float]:
    """Of all folds' clips together; a recording that several of them hold counts as one."""
    hits = np.concatenate([part["hits"] for part in parts])
    groups = np.concatenate([part["groups"] for part in parts])
    return metrics.bootstrap_interval(hits, groups, 2000, 0)


def _f1(part: dict[str, Any]) -> float:
    truth: NDArray = np.array(part["labels"])
    table = metrics.per_class(truth, np.array(part["predicted"]), tuple(map(str, np.unique(truth))))
    return float(table["f1"].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("overlay", type=Path)
    parser.add_argument("--into", type=Path, required=True, help="what was measured, as JSON")
    parser.add_argument("--test", action="store_true", help="score test groups, not validation")
    parser.add_argument("--folds", type=int, nargs="+", default=FOLDS, choices=FOLDS)
    parser.add_argument("--only", nargs="+", help="candidates; all if not given")
    arguments = parser.parse_args()
    real = os.environ.get("KINOFLOW_REAL_DATA")
    if not real:
        raise console.UserError("set KINOFLOW_REAL_DATA to the folder that holds ucf101-mini/")
    data = Path(real) / "ucf101-mini"
    params = settings(arguments.overlay)
    table = videos(data)
    store = Path("work") / "accuracy" / "x".join(str(part) for part in vars(params.clip).values())
    extract(table, data, params, store)
    results = files.read_json(arguments.into) if arguments.into.exists() else {}
    with tempfile.TemporaryDirectory() as made:
        lists = Path(made) / ".lists"
        shutil.copytree(Path(real) / "ucfTrainTestlist", lists)
        for fold in arguments.folds:
            split = params.split.model_copy(update={"method": "official", "fold": fold})
            sides = divide(table, split, params.seed, lists.parent).drop(columns="group")
            known = sides.merge(table, on="video")
            for name in arguments.only or params.candidates:
                if str(fold) in results.get(name, {}):
                    continue
                side = "test" if arguments.test else "val"
                results.setdefault(name, {})[str(fold)] = score(name, params, known, store, side)
                files.write_json(arguments.into, results)
                print(f"{name}, split {fold}: {np.mean(results[name][str(fold)]['hits']):.3f}")
    print(summary(results))


if __name__ == "__main__":
    console.run(main)
