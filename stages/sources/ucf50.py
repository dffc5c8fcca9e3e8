"""UCF-50: clips of 50 actions from YouTube, without split lists (Reddy and Shah, 2012)."""

from pathlib import Path

from kinoflow.config import Dataset
from stages.sources.item import Item
from stages.sources.published import PublishedDataset, published_items
from stages.sources.remote.resumable import RemoteFile

UCF50 = PublishedDataset(RemoteFile("https://www.crcv.ucf.edu/data/UCF50.rar", size=3_233_554_570))


def items(dataset: Dataset, seed: int, downloads: Path) -> list[Item]:
    """The videos, as `published_items` brings them."""
    return published_items(UCF50, dataset, downloads)
