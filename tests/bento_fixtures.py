"""A packed model and a running server, made once for all tests that need them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kinoflow import paths
from stages.package import served
from tests.bento import Server, make_project, package


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work tree that waits for the package stage."""
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    return folder


@pytest.fixture(scope="session")
def bento(project: Path) -> Path:
    """The .bento file that the stage made of the project."""
    done = package(project)
    assert done.returncode == 0, done.stderr
    (made,) = (project / paths.DIST).iterdir()
    return made


@pytest.fixture(scope="session")
def server(bento: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The Bento, served."""
    temporary = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        with served(bento) as url:
            yield Server(url, temporary)
