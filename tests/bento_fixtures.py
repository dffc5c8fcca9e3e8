"""A packed model, made once for all tests that need it, and a running server, one a process."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from kinoflow.workspace import Workspace
from stages.package_check import served
from tests.bento import Server, make_project, package


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
    (made,) = (Workspace(project).dist).iterdir()
    return made


@pytest.fixture(scope="session")
def server(bento: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The Bento, served."""
    temporary = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        patch.setattr(tempfile, "tempdir", str(temporary))
        with served(bento) as url:
            yield Server(url, temporary)
