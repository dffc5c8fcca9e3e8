"""Attacks on what kinoflow defends against: short by default, long with `make soak`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kinoflow.workspace import Workspace


@pytest.fixture(scope="session")
def video(project: Path) -> bytes:
    """A video that the service answers; for modules that have the fixtures of bento_fixtures."""
    return next(Workspace(project).data.rglob("*.avi")).read_bytes()


@pytest.fixture(scope="session")
def count(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """How many rounds to run: the first number, or with --soak the second."""
    soak = request.config.getoption("--soak")
    return lambda short, long: long if soak else short
