"""The user's own videos: a folder per class, or any layout with a labels.csv."""

import os
from pathlib import Path

from kinoflow.config import Dataset
from kinoflow.data import catalog
from kinoflow.system.errors import UserError
from kinoflow.workspace import LABELS
from stages.sources import layout
from stages.sources.item import Item, copied
from stages.sources.remote.addresses import is_web


def items(dataset: Dataset, seed: int, downloads: Path) -> list[Item]:
    """The videos below `dataset.path`, a folder or a URL, and its labels.csv where there is one.

    Raises UserError for a place that is missing, cannot be read, or holds no video, and for a
    video that labels.csv lists and the place does not hold.
    """
    assert dataset.path is not None
    if is_web(dataset.path):
        from stages.sources.remote import web_server

        return web_server.items(dataset.path)
    if "://" in dataset.path:
        from stages.sources.remote import object_store

        return object_store.items(dataset.path)
    root = Path(dataset.path).expanduser()
    if not root.is_dir():
        raise UserError(f"dataset.path {root} is no folder")
    return [copied(path, name) for name, path in files_below(root, str(root)).items()]


def files_below(root: Path, place: str) -> dict[str, Path]:
    """The files of the data set below a folder, by their names in data/.

    `place` is what errors call the folder. Raises UserError as `items` does.
    """
    try:
        found = _visible_files(root)
    except PermissionError as error:
        raise UserError(
            f"dataset.path: {error.filename} cannot be read: {error.strerror}"
        ) from None
    labels = catalog.read_labels(root / LABELS) if LABELS in found else None
    return {name: found[name] for name in layout.dataset_files(found, labels, place)}


def _visible_files(root: Path) -> dict[str, Path]:
    """Every visible file by its path below `root`; links are followed, but not in circles."""

    def refuse(error: OSError) -> None:
        raise error

    found = {}
    # by folder still to be walked, the real paths of it and of all above it: a link to one of these
    # would lead in a circle
    ancestors = {str(root): {root.resolve()}}
    for folder, subfolders, names in os.walk(root, onerror=refuse, followlinks=True):
        above, visible = ancestors.pop(folder), []
        for name in sorted(subfolders):
            real = Path(folder, name).resolve()
            if not name.startswith(".") and real not in above:
                visible.append(name)
                # joined as os.walk does
                ancestors[os.path.join(folder, name)] = {*above, real}  # noqa: PTH118
        subfolders[:] = visible
        for name in names:
            if not name.startswith("."):
                path = Path(folder, name)
                found[path.relative_to(root).as_posix()] = path
    return found
