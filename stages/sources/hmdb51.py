"""HMDB-51: clips of 51 actions from films and the web (Kuehne et al., 2011)."""

from pathlib import Path

from kinoflow.config import Dataset
from stages.sources.item import Item
from stages.sources.published import PublishedDataset, published_items
from stages.sources.remote.resumable import RemoteFile

_SITE = "http://serre-lab.clps.brown.edu/wp-content/uploads/2013/10"
# their sizes and checksums are not published
HMDB51 = PublishedDataset(
    RemoteFile(f"{_SITE}/hmdb51_org.rar"),
    RemoteFile(f"{_SITE}/test_train_splits.rar"),
    nested=True,
)


def items(dataset: Dataset, seed: int, downloads: Path) -> list[Item]:
    """The videos and the three published splits, as `published_items` brings them."""
    return published_items(HMDB51, dataset, downloads)
