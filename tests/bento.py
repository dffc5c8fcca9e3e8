"""What tests of packing and of serving share; their fixtures are in bento_fixtures.py."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from kinoflow import bundle
from kinoflow.bundle import Description
from kinoflow.config import Candidate
from kinoflow.data import tables
from kinoflow.data.clips import ClipStore
from kinoflow.reports.records import Refit, Verdict
from kinoflow.training import export
from kinoflow.video import ClipSpec, sample
from kinoflow.workspace import Workspace
from stages.package_check import served
from tests import documents
from tests.conftest import ROOT
from tests.media import footage
from tests.networks import build

SLIM = {"bentoml", "tensorflow", "keras", "numpy", "opencv-python-headless", "av", "cloudpickle"}
# what a Bento must do without, by the names of packages and of modules
TOO_MUCH = {
    "pandas", "scikit-learn", "sklearn", "scipy", "matplotlib", "dvc", "dvclive", "prefect",
    "great-expectations", "great_expectations", "dask", "distributed", "ruamel-yaml", "ruamel",
}  # fmt: skip
SERVING = {
    "top_k": 2,
    "max_upload_mb": 1,
    "uploads_mb": 4,
    "timeout_s": 30,
    "max_concurrency": 4,
    "memory_mb": 512,
    "check_videos": 3,
}


@dataclass(frozen=True)
class Server:
    url: str
    temporary: Path  # where everything is that it writes

    def predict(self, **request: Any) -> httpx.Response:
        """What POST /predict answers to a request as httpx takes it."""
        return httpx.post(f"{self.url}/predict", timeout=60, trust_env=False, **request)

    def post(self, video: Path) -> httpx.Response:
        return self.predict(files={"video": (video.name, video.read_bytes())})


@dataclass(frozen=True)
class Guarded:
    """A service that demands keys."""

    server: Server
    key: str
    operations: list[tuple[str, str]]  # each method and path of the OpenAPI document

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"} | request.pop("headers", {})
        url = self.server.url + path.replace("{id}", "0" * 32)
        answer = httpx.request(method, url, headers=headers, timeout=60, trust_env=False, **request)
        assert answer.status_code < 500, (method, path, answer.text)
        return answer

    def log(self) -> str:
        (log,) = self.server.temporary.glob("kinoflow-check-*/log")
        return log.read_text(encoding="utf-8")


def make_project(folder: Path) -> None:
    """Make `folder` a work tree as selection leaves it; the winner is an untrained frame_voting."""
    yaml = YAML()
    params = yaml.load(Workspace(ROOT).params)
    params["serving"].update(SERVING)
    yaml.dump(params, Workspace(folder).params)

    footage(Workspace(folder).data, classes=3, groups=2, clips=1)
    videos = sorted((Workspace(folder).data).rglob("*.avi"))
    labels, clip = ("A", "B", "C"), ClipSpec(4, 16, 16)
    candidate = Candidate(model="frame_voting", options={"filters": [4, 8], "pools": [2, 2]})
    export.save(
        Workspace(folder).bundle("voting"),
        build(candidate, clip, len(labels)),
        Description(
            name="voting",
            labels=labels,
            clip=clip,
            frames=clip.frames,
            views=1,
            candidate=candidate.model_dump(),
            seed=0,
            data="",
            versions=bundle.library_versions(),
            metrics={},
            seconds=0.48,
        ),
        history="epoch\n",
    )
    model = bundle.load(Workspace(folder).bundle("voting"))
    rows = []
    store = ClipStore(Workspace(folder).clips)
    for video in videos:
        sampled = sample(video, model.clip)
        stored = store.path(video.relative_to(Workspace(folder).data).as_posix())
        stored.parent.mkdir(parents=True, exist_ok=True)
        np.save(stored, sampled)
        (probabilities,) = model.predict(sampled[None])
        answer = dict(zip(labels, probabilities.tolist(), strict=True))
        row = {
            "video": video.relative_to(Workspace(folder).data).as_posix(),
            "label": video.parent.name,
            "predicted": max(answer, key=answer.__getitem__),
        }
        rows.append(row | {f"p_{label}": value for label, value in answer.items()})
    answers = Workspace(folder).answers("voting")
    answers.parent.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(answers, index=False, float_format="%.9g")
    documents.metrics(0.75).write(Workspace(folder).report("voting") / "metrics.json")
    tables.write(_catalog(videos), Workspace(folder).catalog, tables.CATALOG)
    split = _catalog(videos)[["video", "group"]].assign(split=["train", "val", "test"] * 2)
    tables.write(split, Workspace(folder).split, tables.SPLIT)
    Refit(refit=False).write(Workspace(folder).refit_record)
    documents.winner("voting").write(Workspace(folder).winner)
    Verdict(passed=True, split="stratified_group").write(Workspace(folder).validation)


def _catalog(videos: list[Path]) -> pd.DataFrame:
    rows = [
        {
            "video": f"{video.parent.name}/{video.name}",
            "label": video.parent.name,
            "group": video.stem,
            "frames": 12,
            "fps": 25.0,
            "seconds": 0.48,
            "width": 64,
            "height": 48,
            "codec": "mjpeg",
            "bytes": video.stat().st_size,
            "md5": "0",
            "readable": True,
            "problem": "",
        }
        for video in videos
    ]
    return pd.DataFrame(rows).astype(tables.CATALOG.columns)


def package(project: Path) -> "subprocess.CompletedProcess[str]":
    """`python -m stages.package`, as DVC runs it."""
    return subprocess.run(
        [sys.executable, "-m", "stages.package"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )


@contextlib.contextmanager
def serving(bento: Path, temporary: Path, *options: str) -> Iterator[Server]:
    """The Bento, served with options of `python -m serving`, which writes into `temporary`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        patch.setattr(tempfile, "tempdir", str(temporary))
        with served(bento, *options) as url:
            yield Server(url, temporary)
