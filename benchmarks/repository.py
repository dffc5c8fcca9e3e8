"""The repository that is measured, wherever a benchmark is started."""

from pathlib import Path

from kinoflow.workspace import Workspace

REPOSITORY = Workspace(Path(__file__).resolve().parent.parent)
