"""The user's own videos in an archive: a zip, tar or rar file, here or behind a URL."""

import hashlib
from pathlib import Path

from kinoflow import paths
from kinoflow.console import UserError
from kinoflow.params import Dataset
from stages.sources import Item
from stages.sources.archives import unpack, unpacked_item
from stages.sources.folder import below
from stages.sources.transfer import Remote, fetch, shown


def items(dataset: Dataset, seed: int) -> list[Item]:
    """The videos in the archive at `dataset.path`, and its labels.csv where there is one.

    Folders that hold nothing but another folder are passed over. What came from a URL is not
    asked for again. Raises UserError as downloading, unpacking and the source `folder` do.
    """
    assert dataset.path is not None
    if dataset.path.startswith(("http://", "https://")):
        remote = Remote(dataset.path)
        folder = _folder(remote.name, remote.url)
        if not folder.exists():
            archive = paths.DOWNLOADS / remote.name
            fetch(remote, archive)
            unpack(archive, folder, dataset.max_unpacked_gb)
            archive.unlink()
    elif "://" in dataset.path:
        raise UserError(
            f"dataset.path {shown(dataset.path)}: an archive is taken from a path or from "
            "http:// and https:// alone; fetch it first"
        )
    else:
        archive = Path(dataset.path).expanduser()
        if not archive.is_file():
            raise UserError(f"dataset.path {archive} is no file")
        stat = archive.stat()
        folder = _folder(archive.name, f"{archive.absolute()} {stat.st_size} {stat.st_mtime_ns}")
        if not folder.exists():
            unpack(archive, folder, dataset.max_unpacked_gb)
    root = folder
    while [path.is_dir() for path in root.iterdir()] == [True]:
        (root,) = root.iterdir()
    found = below(root, shown(dataset.path))
    return [unpacked_item(path, name, folder.name) for name, path in found.items()]


def _folder(name: str, identity: str) -> Path:
    """Where an archive is unpacked to: another one of the same name goes elsewhere."""
    mark = hashlib.md5(identity.encode(), usedforsecurity=False).hexdigest()[:8]
    return paths.DOWNLOADS / f"{Path(name).stem}-{mark}"
