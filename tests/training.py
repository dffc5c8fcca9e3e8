"""Small trainings: clips that only time tells apart, and settings that fit them in seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kinoflow.config import Params
from kinoflow.data import clips, tables
from kinoflow.data.clips import ClipSet, ClipStore
from kinoflow.reports.records import Verdict
from kinoflow.system import files
from kinoflow.training.fit import Outputs, TrainingData, fit
from kinoflow.video.spec import ClipSpec
from kinoflow.workspace import Workspace

SPEC = ClipSpec(6, 16, 16)
LABELS = ("right", "left")
# of few layers, since compiling takes longer than training here
SMALL = {"model": "c3d", "options": {"filters": [8], "units": 8}}


def moving(folder: Path, count: int, seed: int) -> ClipSet:
    """Clips of a bright bar that moves right (class 0) or left (class 1)."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 60, (count, *SPEC.shape), dtype=np.uint8)
    labels = np.arange(count) % 2
    videos = tuple(f"{seed}-{number}.avi" for number in range(count))
    for clip, label in zip(drawn, labels, strict=True):
        start = rng.integers(0, 4)
        for frame in range(6):
            left = start + 2 * (frame if label == 0 else 5 - frame)
            clip[frame, :, left : left + 2] = 255
    folder.mkdir(parents=True, exist_ok=True)
    for video, clip in zip(videos, drawn, strict=True):
        np.save(folder / f"{video}.npy", clip)
    return ClipSet(folder, videos, labels)


def recordings(workspace: Workspace, each: int = 2) -> pd.DataFrame:
    """Fill a work tree as a pipeline leaves it before training: 12 recordings of `each` clips.

    In each class, one recording is for validation and two are for test. Returns the split.
    """
    found = moving(workspace.clips, 12 * each, 0)
    label = [LABELS[k] for k in found.labels]
    number = np.arange(12 * each) // (2 * each)  # of a recording, in each class
    catalog = tables.empty(tables.CATALOG).reindex(range(12 * each))
    catalog = catalog.assign(video=found.videos, label=label, md5="m", readable=True, bytes=1)
    catalog["group"] = [f"{name}{k}" for name, k in zip(label, number, strict=True)]
    split = catalog[["video", "group"]].assign(split=np.where(number < 4, "train", "test"))
    split["split"] = split["split"].mask(number == 0, "val")
    tables.write(catalog, workspace.catalog, tables.CATALOG)
    tables.write(split, workspace.split, tables.SPLIT)
    tables.write(tables.empty(tables.FOLDS), workspace.folds, tables.FOLDS)
    records = catalog[["video", "md5"]].assign(spec=clips.describe(SPEC))
    ClipStore(workspace.clips).write_records(records)
    Verdict(passed=True, split="stratified_group").write(workspace.validation)
    files.write_json(workspace.architectures / "a.json", {"model": "c3d"})
    return split


def settings(defaults: Params, candidate: dict[str, Any] | None = None, **training: Any) -> Params:
    values = defaults.model_dump()
    values["clip"] = vars(SPEC)
    plain = {"epochs": 3, "batch_size": 8, "learning_rate": 0.001, "schedule": "cosine"}
    values["training"] |= plain | {"ema": 0, "patience": 8} | training
    values["augment"] = {"shift": 0.1, "brightness": 0.2}  # a flip would make the other class
    values["candidates"] = {"a": candidate or SMALL}
    return Params.model_validate(values)


def train(params: Params, folder: Path, **sets: ClipSet) -> pd.DataFrame:
    """Train the candidate `a` and return its history.

    The bundle goes to `folder`/m, the curves to `folder`/c and checkpoints to `folder`/k. Clips
    are `moving` ones where `sets` does not name others.
    """
    store = folder / "clips"
    sets = {"train": moving(store, 32, 0), "val": moving(store, 16, 1), **sets}
    data = TrainingData(LABELS, sets["train"], sets["val"], "data", len(sets["val"]))
    fit(params.resolve("a"), data, Outputs(folder / "m", folder / "c", folder / "k"))
    return pd.read_csv(folder / "m" / "history.csv")
