"""The data sets of the field, as their authors publish them."""

from dataclasses import dataclass, replace
from pathlib import Path

from kinoflow.config import Dataset
from kinoflow.system.errors import UserError
from kinoflow.workspace import LISTS
from stages.sources import Item
from stages.sources.archives import unpacked_item
from stages.sources.folder import EXTENSIONS
from stages.sources.transfer import Remote, difference
from stages.sources.unpacked import from_address, from_file


@dataclass(frozen=True)
class Published:
    """Archives of videos, a folder per class somewhere in them, and of split lists."""

    videos: Remote
    lists: Remote | None
    nested: bool = False  # the videos' archive holds one archive per class


_UCF = "https://www.crcv.ucf.edu/data"
_HMDB = "http://serre-lab.clps.brown.edu/wp-content/uploads/2013/10"

# UCF-101: Soomro, Zamir and Shah, 2012. UCF-50: Reddy and Shah, 2012. HMDB-51: Kuehne et al., 2011.
# Sizes and checksums stand here only where they are certain.
PUBLISHED = {
    "ucf101": Published(
        Remote(f"{_UCF}/UCF101/UCF101.rar", size=6_932_971_618),
        Remote(f"{_UCF}/UCF101/UCF101TrainTestSplits-RecognitionTask.zip"),
    ),
    "ucf50": Published(Remote(f"{_UCF}/UCF50.rar", size=3_233_554_570), None),
    "hmdb51": Published(
        Remote(f"{_HMDB}/hmdb51_org.rar"), Remote(f"{_HMDB}/test_train_splits.rar"), nested=True
    ),
}


def items(dataset: Dataset, seed: int, downloads: Path) -> list[Item]:
    """The videos of a published data set, and its split lists.

    Archives that `dataset.path` holds are used where they lie; others are downloaded and, once
    unpacked, deleted. Raises UserError as downloading and unpacking do, and for an archive
    without videos.
    """
    published = PUBLISHED[dataset.source]
    folder = _unpacked(published.videos, dataset, downloads, nested=published.nested)
    videos = [
        unpacked_item(path, f"{path.parent.name}/{path.name}", folder.name)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix.lower() in EXTENSIONS
    ]
    if not videos:
        raise UserError(f"{published.videos.name} holds no videos")
    if published.lists is None or dataset.lists is not None:
        return videos
    folder = _unpacked(published.lists, dataset, downloads)
    return videos + [
        unpacked_item(path, f"{LISTS}/{path.name}", folder.name)
        for path in sorted(folder.rglob("*.txt"))
    ]


def _unpacked(remote: Remote, dataset: Dataset, downloads: Path, *, nested: bool = False) -> Path:
    """The folder with what an archive holds, unpacked at most once."""
    if dataset.path is not None:
        archive = Path(dataset.path).expanduser() / remote.name
        if not archive.is_file():
            raise UserError(f"dataset.path {dataset.path} does not hold {remote.name}")
        if problem := difference(remote, archive):
            raise UserError(f"{archive} {problem}: fetch it again")
        return from_file(archive, downloads, dataset.max_unpacked_gb, nested=nested)
    if dataset.mirror is not None:
        remote = replace(remote, url=f"{dataset.mirror.rstrip('/')}/{remote.name}")
    return from_address(remote, downloads, dataset.max_unpacked_gb, nested=nested)
