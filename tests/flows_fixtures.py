"""A miniature pipeline for the flows to run."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kinoflow.system import files
from kinoflow.workspace import Workspace
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
        scores = {"accuracy": accuracy, "f1": accuracy}
        metrics = {"val": scores, "test": scores, "parameters": 12345, "size_mb": 1.5}
        files.write_json(report / "metrics.json", metrics)
        files.write_json(report / "timing.json", {"latency_ms": 3.25, "train_seconds": 60})
    files.write_json(root / "reports" / "winner.json", {"winner": "lrcn", "reason": REASON})
    return root


@pytest.fixture
def repo(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working folder."""
    root = tmp_path / "repo"
    subprocess.run(["cp", "-r", template, root], check=True)
    monkeypatch.chdir(root)
    return root
