"""UCF-101: 13,320 clips of 101 actions from YouTube (Soomro, Zamir and Shah, 2012)."""

from pathlib import Path

from kinoflow.config import Dataset
from stages.sources.item import Item
from stages.sources.published import PublishedDataset, published_items
from stages.sources.remote.resumable import RemoteFile

_SITE = "https://www.crcv.ucf.edu/data/UCF101"
UCF101 = PublishedDataset(
    RemoteFile(f"{_SITE}/UCF101.rar", size=6_932_971_618),
    RemoteFile(f"{_SITE}/UCF101TrainTestSplits-RecognitionTask.zip"),
)


def items(dataset: Dataset, seed: int, downloads: Path) -> list[Item]:
    """The videos and the three published splits, as `published_items` brings them."""
    return published_items(UCF101, dataset, downloads)
