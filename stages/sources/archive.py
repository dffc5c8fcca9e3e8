"""The user's own videos in an archive: a zip, tar or rar file, here or behind a URL."""

from pathlib import Path

from kinoflow.config import Dataset
from kinoflow.system.errors import UserError
from stages.sources import Item
from stages.sources.archives import unpacked_item
from stages.sources.folder import below
from stages.sources.transfer import Remote, shown
from stages.sources.unpacked import from_address, from_file


def items(dataset: Dataset, seed: int, downloads: Path) -> list[Item]:
    """The videos in the archive at `dataset.path`, and its labels.csv where there is one.

    Folders that hold nothing but another folder are passed over. What came from a URL is not
    asked for again. Raises UserError as downloading, unpacking and the source `folder` do.
    """
    assert dataset.path is not None
    if dataset.path.startswith(("http://", "https://")):
        folder = from_address(Remote(dataset.path), downloads, dataset.max_unpacked_gb)
    elif "://" in dataset.path:
        raise UserError(
            f"dataset.path {shown(dataset.path)}: an archive is taken from a path or from "
            "http:// and https:// alone; fetch it first"
        )
    else:
        archive = Path(dataset.path).expanduser()
        if not archive.is_file():
            raise UserError(f"dataset.path {archive} is no file")
        folder = from_file(archive, downloads, dataset.max_unpacked_gb)
    root = folder
    while [path.is_dir() for path in root.iterdir()] == [True]:
        (root,) = root.iterdir()
    found = below(root, shown(dataset.path))
    return [unpacked_item(path, name, folder.name) for name, path in found.items()]
