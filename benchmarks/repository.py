"""The repository that is measured, whatever the working folder."""

from pathlib import Path

from kinoflow.workspace import Workspace

REPOSITORY = Workspace(Path(__file__).resolve().parent.parent)
