"""A folder with the pipeline in miniature of `tests.pipeline`."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.pipeline import CANDIDATES, DVC_YAML, EVALUATE, TRAIN, Starter


@pytest.fixture(scope="module")
def pipeline_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=root, check=True)
    for name, text in {"dvc.yaml": DVC_YAML, "train.py": TRAIN, "evaluate.py": EVALUATE}.items():
        (root / name).write_text(text)
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    params["candidates"] = {name: {"model": name} for name in CANDIDATES}
    params["compute"]["parallel"] = 2
    YAML().dump(params, root / "params.yaml")
    return root


@pytest.fixture
def pipeline(pipeline_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working folder, in which kinoflow is the one that is tested."""
    root = tmp_path / "repo"
    subprocess.run(["cp", "-r", pipeline_template, root], check=True)
    monkeypatch.chdir(root)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return root


@pytest.fixture
def ending() -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that a test starts, all of which end with it."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def start_runner(
    pipeline: Path, interruptible: None, ending: list["subprocess.Popen[str]"]
) -> Starter:
    """Start the runner of the pipeline in that folder."""

    def start_runner() -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.reproduce"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ending.append(process)
        return process

    return start_runner
