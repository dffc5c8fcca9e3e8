"""Accuracy of candidates over the published splits of a data set, each trained and scored anew.

    python -m benchmarks.accuracy benchmarks/accuracy.yaml --into accuracy.json [--test]

The file is an overlay on params.yaml: the clip, the candidates, how they are trained. What
`accuracy.json` holds already is not run again. Without `--test` only the validation groups of each
fold are scored: that is what to choose by, and since they are few, `--repeats` draws others from
the same training lists and begins with other weights. The videos are those of `ucf101-mini` in the
folder named by KINOFLOW_REAL_DATA, with the published lists beside them.
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
from numpy.typing import NDArray

from flows.settings import merge
from kinoflow import bundle
from kinoflow.config import Params, checked
from kinoflow.data import catalog, clips, tables
from kinoflow.data.clips import ClipSet
from kinoflow.reports import metrics
from kinoflow.system import errors, files, terminal
from stages.evaluate import predict
from stages.split import divide

FOLDS = (1, 2, 3)
# further ways of looking at a clip, where the model takes fewer frames than are stored
VIEWS: dict[str, dict[str, Any]] = {
    f"{views} view{'s' * (views > 1)}{', mirrored too' * flip}": {"views": views, "flip": flip}
    for views in (1, 3, 6)
    for flip in (False, True)
}

# what was measured: by candidate, then by fold, "2", or fold and repeat, "2.1"
Results = dict[str, dict[str, dict[str, Any]]]


def settings(overlay: Path) -> Params:
    """params.yaml with another file laid over it, as a recipe's params are."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe")
    text = os.path.expandvars(overlay.read_text(encoding="utf-8"))
    return checked(merge(yaml.load(Path("params.yaml")), yaml.load(text)), overlay)


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
    for video in terminal.progress(table["video"].tolist(), "extract"):
        target = clips.clip_path(store, video)
        if not target.exists():
            clips.decode(data / video, params.clip, target)


def score(
    name: str,
    params: Params,
    table: pd.DataFrame,
    store: Path,
    side: str,
    views: dict[str, dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Train a candidate on one split and say how it does on `side`, clip by clip.

    By the candidate's name as params.yaml looks at clips, and by further names with `views`.
    """
    from kinoflow.training.fit import train

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
        history = tables.read(folder / "m" / bundle.HISTORY, tables.HISTORY)
        same = {
            "groups": table.loc[table["split"] == side, "group"].tolist(),
            "labels": chosen.labels.tolist(),
            "minutes": round(minutes, 2),
            "parameters": model.model.count_params(),
            "epochs": len(history),
            "train_accuracy": float(history["accuracy"].max()),
        }
        looks = [(name, model)]
        for called, seen in views.items():
            description = replace(model.description, **seen)
            looks.append((f"{name}, {called}", replace(model, description=description)))
        scored = {}
        for called, looking in looks:
            predicted = predict(looking, chosen, called).argmax(axis=1)
            hits = (predicted == chosen.labels).tolist()
            scored[called] = {"hits": hits, "predicted": predicted.tolist(), **same}
        return scored


def summary(results: Results) -> str:
    """A row per candidate: the accuracy of each fold, their mean and its 95% interval."""
    lines = [
        "| candidate | parameters | split 1 | split 2 | split 3 | mean | 95% interval | macro F1 "
        "| minutes a split |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rows = []
    for name, scored in results.items():
        parts = list(scored.values())
        folds = [
            [part for key, part in scored.items() if key.partition(".")[0] == str(fold)]
            for fold in FOLDS
        ]
        accuracies = [float(np.mean(_joined(of_fold, "hits"))) for of_fold in folds if of_fold]
        cells = [f"{value:.3f}" for value in accuracies] + [""] * (len(FOLDS) - len(accuracies))
        low, high = _interval(_joined(parts, "hits"), parts)
        scores = [_f1(part) for part in parts]
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


def choices(results: Results, bases: list[str]) -> str:
    """A row per choice: the accuracy of each base with it, and how much it gains over them without.

    The choice `no_flip` of the base `lrcn` is the candidate `lrcn_no_flip`. What it gains is over
    all that was scored both with and without it, clip by clip.
    """
    lines = [
        f"| choice | {' | '.join(bases)} | gain | 95% interval | answers |",
        f"|---|{'---:|' * (len(bases) + 3)}",
    ]
    rows = []
    for choice in {n.removeprefix(base) for n in results for base in bases if n.startswith(base)}:
        cells, chosen, without = [], [], []
        for base in bases:
            scored = results.get(base + choice, {})
            parts = list(scored.values())
            cells.append(f"{np.mean(_joined(parts, 'hits')):.3f}" if parts else "")
            both = sorted(scored.keys() & results.get(base, {}).keys())
            chosen += [scored[key] for key in both]
            without += [results[base][key] for key in both]
        if not chosen:
            continue
        gains = _joined(chosen, "hits").astype(int) - _joined(without, "hits")
        low, high = _interval(gains, chosen)
        row = f"| {choice.lstrip('_, ') or 'none'} | {' | '.join(cells)} "
        row += f"| {gains.mean():+.3f} | {low:+.3f} to {high:+.3f} | {len(gains)} |"
        rows.append((-gains.mean(), row))
    return "\n".join(lines + [row for _, row in sorted(rows)])


def _joined(parts: list[dict[str, Any]], what: str) -> NDArray:
    return np.concatenate([part[what] for part in parts])


def _interval(values: NDArray, parts: list[dict[str, Any]]) -> tuple[float, float]:
    """Of all parts' clips together; a recording that several of them hold counts as one."""
    return metrics.bootstrap_interval(values, _joined(parts, "groups"), 2000, 0)


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
    parser.add_argument("--repeats", type=int, default=1, help="divisions of each fold's training")
    parser.add_argument("--views", action="store_true", help="score other views at test time too")
    parser.add_argument("--only", nargs="+", help="candidates; all if not given")
    parser.add_argument("--bases", nargs="+", help="candidates that the others vary: r3d, r3d_...")
    arguments = parser.parse_args()
    real = os.environ.get("KINOFLOW_REAL_DATA")
    if not real:
        raise errors.UserError("set KINOFLOW_REAL_DATA to the folder that holds ucf101-mini/")
    data = Path(real) / "ucf101-mini"
    params = settings(arguments.overlay)
    if unknown := set(arguments.bases or ()) - params.candidates.keys():
        raise errors.UserError(f"--bases: {arguments.overlay} has no {', '.join(sorted(unknown))}")
    table = videos(data)
    store = Path("work") / "accuracy" / "x".join(str(part) for part in vars(params.clip).values())
    extract(table, data, params, store)
    results = files.read_json(arguments.into) if arguments.into.exists() else {}
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
                for called, scored in score(name, seeded, known, store, side, views).items():
                    results.setdefault(called, {})[key] = scored
                    print(f"{called}, split {key}: {np.mean(scored['hits']):.3f}")
                files.write_json(arguments.into, results)
    print(summary(results))
    if arguments.bases:
        print(choices(results, arguments.bases))


if __name__ == "__main__":
    errors.run(main)
