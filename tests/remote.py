"""Syncs from elsewhere, for tests."""

from pathlib import Path

from kinoflow.config import Dataset, load
from kinoflow.workspace import Workspace
from stages import download
from stages.sources.item import Item
from tests.conftest import ROOT

LABELS = "video,label\nA/1.avi,x\nB/2 ü#%20.avi,y\n"


def items(url: str) -> list[Item]:
    """What data/ should hold with this `dataset.path`."""
    params = load(ROOT / "params.yaml")
    dataset = Dataset(source="folder", path=url)
    return download.items(params.model_copy(update={"dataset": dataset}), Workspace().downloads)


def sync(url: str, folder: Path) -> list[str]:
    """Bring it to `folder`/data; the names of what is new or gone."""
    return download.sync(items(url), folder / "data", folder / "manifest.json")
