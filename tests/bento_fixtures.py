"""A packed model, made once for all tests that need it, and a running server, one a process."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from filelock import FileLock

from kinoflow.workspace import Workspace
from serving import keyring
from serving.keyring import SCOPES
from tests.bento import Guarded, Server, make_project, package, serving


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work tree with what selection leaves and the .bento file that the package stage made."""
    # that of all processes of this run of pytest
    shared = tmp_path_factory.getbasetemp()
    if shared.name.startswith("popen-"):
        shared = shared.parent
    folder = shared / "project"
    with FileLock(shared / "project.lock"):
        if not (Workspace(folder).dist).exists():
            folder.mkdir()
            make_project(folder)
            done = package(folder)
            assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def bento(project: Path) -> Path:
    """The .bento file that the stage made of the project."""
    return Workspace(project).bento


@pytest.fixture(scope="session")
def server(bento: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The Bento, served."""
    with serving(bento, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def guarded(bento: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The Bento, served to those who have a key."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    key = keyring.add(file, "tests", SCOPES)
    with serving(bento, tmp_path_factory.mktemp("guarded"), "--keys", str(file)) as server:
        described = httpx.get(f"{server.url}/docs.json", trust_env=False).json()
        operations = [
            (method.upper(), path)
            for path, methods in described["paths"].items()
            for method in methods
        ]
        assert len(operations) >= 10
        yield Guarded(server, key, operations)
