"""A miniature pipeline for the flows to run."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kinoflow.reports.records import Timing
from kinoflow.workspace import Workspace
from tests import documents
from tests.conftest import ROOT

DVC_YAML = """
stages:
  prepare:
    cmd: python -c "open('prepared', 'w').close()"
    outs:
    - prepared
  train:
    foreach:
    - lrcn
    do:
      cmd: python train.py ${item}
      deps:
      - train.py
      - prepared
      outs:
      - trained_${item}
"""
TRAINS = "open('trained_lrcn', 'w').close()"
REASON = "lrcn has the best validation accuracy, 0.900"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a pipeline of two stages, and the reports that a real one would write."""
    root = tmp_path_factory.mktemp("template")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=root, check=True)
    shutil.copy(Workspace(ROOT).params, Workspace(root).params)
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "train.py").write_text(TRAINS)
    (root / "stages").mkdir()
    (root / "stages" / "__init__.py").touch()
    (root / "stages" / "download.py").write_text("print('download: nothing new')")
    for name, accuracy in (("lrcn", 0.9), ("convlstm", 0.8)):
        report = root / "reports" / name
        documents.metrics(accuracy).write(report / "metrics.json")
        Timing(latency_ms=3.25, train_seconds=60).write(report / "timing.json")
    documents.winner("lrcn", REASON).write(Workspace(root).winner)
    return root


@pytest.fixture
def repo(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working folder."""
    root = tmp_path / "repo"
    subprocess.run(["cp", "-r", template, root], check=True)
    monkeypatch.chdir(root)
    return root
