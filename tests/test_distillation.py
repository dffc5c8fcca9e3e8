"""Students: who teaches them, what they learn, and when they are trained again."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinoflow import bundle, config
from kinoflow.bundle import Bundle
from kinoflow.config import Params
from kinoflow.data.clips import ClipSet, ClipStore
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.training.distillation import LabelAccuracy, TaughtLoss
from kinoflow.training.fit import Outputs, TrainingData, fit, taught_batches
from kinoflow.training.lessons import Lesson, unlabelled_set
from tests.conftest import ROOT, params_text
from tests.training import LABELS, SMALL, SPEC, moving, settings

STUDENT = {"model": "c3d", "frames": 3, "options": {"filters": [4], "units": 4}, "teacher": "a"}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, defaults: Params) -> Path:
    """A folder with a teacher, m, trained on six frames."""
    folder = tmp_path_factory.mktemp("taught")
    data = data_in(folder)
    fit(settings(defaults, epochs=6).resolve("a"), data, outputs(folder, "m"))
    return folder


def data_in(folder: Path) -> TrainingData:
    clips = folder / "clips"
    return TrainingData(LABELS, moving(clips, 32, 0), moving(clips, 16, 1), "data", 16)


def outputs(folder: Path, name: str) -> Outputs:
    return Outputs(folder / name, None, folder / f"{name}-checkpoints")


def student(defaults: Params, **more: Any) -> config.Run:
    values = settings(defaults, epochs=3).model_dump()
    values["students"] = {"s": STUDENT | more}
    return Params.model_validate(values).resolve("s")


def lesson(folder: Path, run: config.Run, unlabelled: ClipSet | None = None) -> Lesson:
    md5 = "of the footage" if unlabelled else None
    return Lesson({"a": bundle.load(folder / "m")}, run.candidate.distil, unlabelled, md5)


def footage(folder: Path, count: int) -> ClipSet:
    made = moving(folder / "more", count, 2)
    return unlabelled_set(ClipStore(made.folder), made.videos)
