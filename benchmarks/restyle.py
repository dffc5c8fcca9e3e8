"""Whether training on restyled clips helps recognition: on real recordings, and on unseen looks.

    python -m benchmarks.restyle --weights FILE [--folder work/restyle_benchmark]

It trains the candidates of benchmarks/restyle.yaml with and without `augment.restyle`, on the same
clips with the same seeds: on real clips of the folder that KINOFLOW_REAL_DATA names, and on
rendered ones of the plain look, which are then tested in looks that no training showed. Styles are
drawn by code, and networks for them are trained first. What is in --folder is not done again, so
that a run that was stopped goes on. It writes benchmarks/restyle.md.
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import accuracy, restyle_data, restyle_page
from benchmarks.repository import REPOSITORY
from benchmarks.restyle_data import Material
from benchmarks.restyle_page import Results
from benchmarks.styles import STYLES
from kinoflow import bundle
from kinoflow.config import Params, Run
from kinoflow.data import tables
from kinoflow.data.clips import ClipSet
from kinoflow.reports.predictions import predict
from kinoflow.system import errors, files

OVERLAY = Path(__file__).with_suffix(".yaml")
PAGE = Path(__file__).with_suffix(".md")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restyle", description=__doc__)
    parser.add_argument("--weights", required=True, help="of SqueezeNet: a file")
    parser.add_argument("--folder", type=Path, default=REPOSITORY.work / "restyle_benchmark")
    parser.add_argument("--share", type=float, default=0.5, help="of clips shown restyled")
    parser.add_argument("--steps", type=int, default=200, help="of training a style's network")
    parser.add_argument("--repeats", type=int, default=2, help="trainings on rendered clips")
    parser.add_argument("--folds", type=int, help="of real clips, at most; all if not given")
    parser.add_argument("--real", nargs="*", default=["frame_moments", "lrcn"])
    parser.add_argument("--rendered", nargs="*", default=["lrcn", "r2plus1d"])
    arguments = parser.parse_args()
    params = accuracy.read_params(OVERLAY)
    folder: Path = arguments.folder
    made = restyle_data.rendered(folder, params, arguments.repeats)
    networks = restyle_data.networks(folder / "networks", arguments.weights, made, arguments.steps)
    studies = [("rendered", made, arguments.rendered)]
    if (data := os.environ.get("KINOFLOW_REAL_DATA")) and arguments.real:
        filmed = restyle_data.real(folder, Path(data) / "ucf101-mini", params)
        kept = dict(list(filmed.splits.items())[: arguments.folds])
        studies.insert(0, ("real", replace(filmed, splits=kept), arguments.real))
    path = folder / "results.json"
    results: Results = files.read_json(path) if path.exists() else {}
    for name, material, candidates in studies:
        restyle_data.repaint(material, networks, params)
        for candidate in candidates:
            found = results.setdefault(name, {}).setdefault(candidate, {})
            for key, seed in zip(material.splits, range(params.seed, 1000), strict=False):
                for way in restyle_page.WAYS:
                    if way in found.setdefault(key, {}):
                        continue
                    share = arguments.share if way == restyle_page.WITH else 0.0
                    found[key][way] = score(params, candidate, seed, material, key, share)
                    files.write_json(path, results)
                    hits = found[key][way]["hits"]
                    told = ", ".join(f"{look} {np.mean(hits[look]):.3f}" for look in hits)
                    print(f"{name}, {candidate}, {key}, {way}: {told}", flush=True)
    files.write_text(PAGE, restyle_page.page(results, params, arguments.share, arguments.steps))
    print(PAGE.read_text(encoding="utf-8"))


def score(
    params: Params, candidate: str, seed: int, material: Material, split: str, share: float
) -> dict[str, Any]:
    """Train a candidate and score it on the test recordings, clip by clip, in every look.

    Args:
        params: all settings.
        candidate: its name.
        seed: of the training.
        material: the clips.
        split: the name of the division into sides.
        share: of the clips that are shown restyled.
    """
    run = params.model_copy(update={"seed": seed}).resolve(candidate)
    table = material.splits[split]
    labels, sets = accuracy.clip_sets(table, material.store(material.looks[0]))
    recordings = table.loc[table["split"] == "val", "group"].nunique()
    with tempfile.TemporaryDirectory() as folder:
        processor = time.process_time()
        model = accuracy.trained(
            restyled(run, share), labels, sets, recordings, Path(folder), material.restyled
        )
        processor = time.process_time() - processor
        history = tables.read(model.folder / bundle.HISTORY, tables.HISTORY)
        hits = {}
        for look in material.looks:
            clips = ClipSet(material.store(look), sets["test"].videos, sets["test"].labels)
            answers = predict(model, clips, f"{candidate}, {look}").argmax(axis=1)
            hits[look] = (answers == clips.labels).tolist()
        return {
            "hits": hits,
            "groups": table.loc[table["split"] == "test", "group"].tolist(),
            "parameters": model.model.count_params(),
            "train_accuracy": float(history["accuracy"].max()),
            "epoch": model.description.metrics["epoch"],
            "processor_minutes": round(processor / 60, 2),
        }


def restyled(run: Run, share: float) -> Run:
    """A run whose training shows this share of its clips in one of the styles."""
    changes = {"restyle": share, "styles": tuple(STYLES) if share else ()}
    return replace(run, augment=run.augment.model_copy(update=changes))


if __name__ == "__main__":
    errors.run(main)
