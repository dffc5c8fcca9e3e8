"""What the attacks on the service share."""

from pathlib import Path

import pytest

from kinoflow.workspace import Workspace


@pytest.fixture(scope="session")
def video(project: Path) -> bytes:
    """A video that the service answers."""
    return next(Workspace(project).data.rglob("*.avi")).read_bytes()
