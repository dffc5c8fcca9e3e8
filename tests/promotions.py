"""A work tree whose newest model is to be promoted, with small files in place of Bentos."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from flows.promotion import Office
from kinoflow import bentos, config
from kinoflow.reports.decision import Decision
from kinoflow.workspace import Workspace
from tests.conftest import ROOT
from tests.documents import contender, evidence

DVC_YAML = """
stages:
  package:
    cmd: python -c "import shutil; shutil.copyfile('newest', 'dist/kinoflow.bento')"
    deps:
    - newest
    outs:
    - dist/kinoflow.bento
{report}
artifacts:
  kinoflow:
    path: dist/kinoflow.bento
    type: model
"""
REPORT = """
  report:
    cmd: python -c "import shutil; shutil.copyfile('reports/decision.json', 'reports/index.html')"
    deps:
    - reports/decision.json
    outs:
    - reports/index.html
"""
# what the stage `challenge` leaves behind is given; tests/test_challenge.py is about the stage
CHALLENGE = """
import pathlib, shutil
pathlib.Path("work").mkdir(exist_ok=True)
shutil.copyfile("evidence.json", "work/challenge.json")
with open("compared", "a") as file:
    file.write("x")
"""
BETTER = {"low": 0.01, "high": 0.1}
UNCLEAR = {"low": -0.1, "high": 0.1}
WORSE = {"low": -0.3, "high": -0.1}


def make_bento(path: Path, version: str, model: str | None = None) -> None:
    """A .bento file that holds what promotion looks at: a version and a model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {"bento.yaml": f"version: '{version}'\n", "src/bundle/model.keras": model or version}
    with tarfile.open(path, "w:xz") as archive:
        for name, text in held.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


def make_tree(root: Path, **sections: dict[str, Any]) -> Workspace:
    """Lay out a work tree, with keys of sections of params.yaml as given."""
    from ruamel.yaml import YAML

    workspace = Workspace(root)
    root.mkdir(parents=True, exist_ok=True)
    yaml = YAML()
    params = yaml.load(Workspace(ROOT).params)
    for name, values in sections.items():
        params[name].update(values)
    yaml.dump(params, workspace.params)
    (root / "stages").mkdir()
    (root / "stages" / "__init__.py").touch()
    (root / "stages" / "challenge.py").write_text(CHALLENGE)
    Decision().write(workspace.decision)
    return workspace


def make_repository(root: Path, *, report: bool = False, **sections: dict[str, Any]) -> Workspace:
    """The same as a repository of git and DVC, with a commit and a pipeline; `report`: a page."""
    workspace = make_tree(root, **sections)
    (root / "dvc.yaml").write_text(DVC_YAML.format(report=REPORT if report else ""))
    (root / "dist").mkdir()
    shutil.copyfile(ROOT / ".gitignore", root / ".gitignore")
    with (root / ".gitignore").open("a") as file:
        file.write("/newest\n/evidence.json\n/compared\n")
    git(root, "init", "-q", "-b", "main")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=root, check=True)
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "code")
    return workspace


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def retrained(workspace: Workspace, version: str, **found: Any) -> None:
    """Let the newest model be this one, and have it score `found` against the champion."""
    if (workspace.root / "dvc.yaml").exists():
        make_bento(workspace.root / "newest", version)
        workspace.dist.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "dvc", "repro", "-q", "package"]
        subprocess.run(command, cwd=workspace.root, check=True)
    else:
        make_bento(workspace.bento, version)
    scored(workspace, version, **found)


def scored(workspace: Workspace, version: str, **found: Any) -> None:
    """Let the comparison come out like this."""
    result = evidence(**found).model_copy(update={"challenger": contender(version)})
    text = json.dumps(result.model_dump(exclude_none=True))
    (workspace.root / "evidence.json").write_text(text)


def comparisons(workspace: Workspace) -> int:
    """How often models were compared."""
    path = workspace.root / "compared"
    return len(path.read_text()) if path.exists() else 0


def params_of(workspace: Workspace) -> config.Params:
    return config.load(workspace.params)


def office(workspace: Workspace) -> Office:
    """Where promotions of a work tree are decided, by its own params.yaml."""
    return Office(workspace, params_of(workspace), lambda line: None)


def served(workspace: Workspace) -> str:
    """The version of the champion's Bento."""
    file = bentos.champion(workspace.champion)
    assert file is not None
    return bentos.version(file)
