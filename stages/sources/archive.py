"""The user's own videos in an archive: a zip, tar or rar file, here or behind a URL."""

from pathlib import Path

from kinoflow.config import Dataset
from kinoflow.system.errors import UserError
from stages.sources.archives import cache
from stages.sources.folder import files_below
from stages.sources.item import Item, linked
from stages.sources.remote.addresses import is_web, redacted
from stages.sources.remote.resumable import RemoteFile


def items(dataset: Dataset, seed: int, downloads: Path) -> list[Item]:
    """The videos in the archive at `dataset.path`, and its labels.csv where there is one.

    Outer folders that hold one folder and nothing else are skipped. An archive from a URL is
    downloaded once; the server is not asked for it again.

    Raises UserError as downloading and unpacking do, and as the source `folder` does for what the
    archive holds.
    """
    assert dataset.path is not None
    place = redacted(dataset.path)
    if is_web(dataset.path):
        remote = RemoteFile(dataset.path)
        unpacked = cache.from_address(remote, downloads, dataset.max_unpacked_gb)
    elif "://" in dataset.path:
        raise UserError(
            f"dataset.path {place}: an archive is taken from a path or from "
            "http:// and https:// only; fetch it first"
        )
    else:
        archive = Path(dataset.path).expanduser()
        if not archive.is_file():
            raise UserError(f"dataset.path {archive} is no file")
        unpacked = cache.from_file(archive, downloads, dataset.max_unpacked_gb)
    root = unpacked
    while [path.is_dir() for path in root.iterdir()] == [True]:
        (root,) = root.iterdir()
    return [linked(path, name, unpacked.name) for name, path in files_below(root, place).items()]
