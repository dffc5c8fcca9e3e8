"""What the published data sets share: archives of videos and split lists from their authors."""

from dataclasses import dataclass, replace
from pathlib import Path

from kinoflow.config import Dataset
from kinoflow.system.errors import UserError
from kinoflow.workspace import LISTS
from stages.sources import layout
from stages.sources.archives import cache
from stages.sources.item import Item, linked
from stages.sources.remote.resumable import RemoteFile, difference


@dataclass(frozen=True)
class PublishedDataset:
    """The archives of a published data set.

    Args:
        videos: the archive of the videos, which holds a folder per class at any depth.
        lists: the archive of the split lists, where there is one.
        nested: whether the archive of the videos holds one archive per class.
    """

    videos: RemoteFile
    lists: RemoteFile | None = None
    nested: bool = False


def published_items(published: PublishedDataset, dataset: Dataset, downloads: Path) -> list[Item]:
    """The videos of a published data set, and its split lists.

    Archives that lie in the folder `dataset.path` are used and kept. Without a `dataset.path` they
    are downloaded, from `dataset.mirror` if that is set, and deleted once they are unpacked.

    Raises UserError as downloading and unpacking do, and for an archive without videos.
    """
    folder = _unpacked(published.videos, dataset, downloads, nested=published.nested)
    videos = [
        linked(path, f"{path.parent.name}/{path.name}", folder.name)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and layout.is_video(path.name)
    ]
    if not videos:
        raise UserError(f"{published.videos.name} holds no videos")
    if published.lists is None or dataset.lists is not None:
        return videos
    folder = _unpacked(published.lists, dataset, downloads)
    return videos + [
        linked(path, f"{LISTS}/{path.name}", folder.name) for path in sorted(folder.rglob("*.txt"))
    ]


def _unpacked(
    remote: RemoteFile, dataset: Dataset, downloads: Path, *, nested: bool = False
) -> Path:
    """The folder that holds the content of an archive."""
    if dataset.path is not None:
        archive = Path(dataset.path).expanduser() / remote.name
        if not archive.is_file():
            raise UserError(f"dataset.path {dataset.path} does not hold {remote.name}")
        if problem := difference(remote, archive):
            raise UserError(f"{archive} {problem}: fetch it again")
        return cache.from_file(archive, downloads, dataset.max_unpacked_gb, nested=nested)
    if dataset.mirror is not None:
        remote = replace(remote, url=f"{dataset.mirror.rstrip('/')}/{remote.name}")
    return cache.from_address(remote, downloads, dataset.max_unpacked_gb, nested=nested)
