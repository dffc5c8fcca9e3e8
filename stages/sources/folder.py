"""The user's own videos: a folder per class, or any layout with a labels.csv."""

import os
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pandas as pd

from kinoflow.config import Dataset
from kinoflow.data import catalog
from kinoflow.system.errors import UserError
from stages.sources import Item

EXTENSIONS = {
    *(".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".mpe"),
    *(".wmv", ".flv", ".ts", ".mts", ".m2ts", ".3gp", ".ogv", ".gif"),
}
LABELS = "labels.csv"


def items(dataset: Dataset, seed: int, downloads: Path) -> list[Item]:
    """The videos below `dataset.path`, a folder or a URL, and its labels.csv where there is one.

    Raises UserError for a folder that is missing or cannot be read, and as `choose` does.
    """
    assert dataset.path is not None
    if "://" in dataset.path:
        from stages.sources import remote

        return remote.items(dataset.path)
    root = Path(dataset.path).expanduser()
    if not root.is_dir():
        raise UserError(f"dataset.path {root} is no folder")
    return [item(path, name) for name, path in below(root, str(root)).items()]


def below(root: Path, called: str) -> dict[str, Path]:
    """The files below a folder that `items` speaks of, by their names in data/.

    Errors speak of it as `called`.
    """
    try:
        found = _files(root)
    except PermissionError as error:
        raise UserError(
            f"dataset.path: {error.filename} cannot be read: {error.strerror}"
        ) from None
    labels = catalog.read_labels(root / LABELS) if LABELS in found else None
    return {name: found[name] for name in choose(found, labels, called)}


def choose(found: Iterable[str], labels: pd.DataFrame | None, root: str) -> list[str]:
    """Which of the files `found` at `root` the data are: sorted paths below it.

    With a labels.csv those that it lists and itself, else every file with a video's extension.
    Raises UserError if there is no video, and for one that labels.csv lists but `root` does not
    hold.
    """
    found = set(found)
    if labels is not None:
        missing = sorted(set(labels["video"]) - found)
        if missing:
            raise UserError(
                f"{LABELS} lists {len(missing)} videos that {root} does not hold, "
                f"the first {missing[0]}"
            )
        videos = set(labels["video"])
    else:
        videos = {name for name in found if Path(name).suffix.lower() in EXTENSIONS}
    if not videos:
        raise UserError(
            f"dataset.path {root} holds no videos: kinoflow looks for a folder per class "
            f"with files ending in {', '.join(sorted(EXTENSIONS))}"
        )
    return sorted(videos if labels is None else {*videos, LABELS})


def item(path: Path, name: str) -> Item:
    """A file on this machine, to be copied to `name`."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise UserError(f"{path} is a link that leads nowhere: mend or remove it") from None
    return Item(name, f"{stat.st_size}-{stat.st_mtime_ns}", partial(_copy, path))


def _files(root: Path) -> dict[str, Path]:
    """Every visible file by its path below `root`; links are followed, but not in circles."""

    def refuse(error: OSError) -> None:
        raise error

    found = {}
    within = {str(root): {root.resolve()}}
    for folder, subfolders, names in os.walk(root, onerror=refuse, followlinks=True):
        above, visible = within.pop(folder), []
        for name in sorted(subfolders):
            real = Path(folder, name).resolve()
            if not name.startswith(".") and real not in above:
                visible.append(name)
                within[os.path.join(folder, name)] = {*above, real}  # noqa: PTH118 as os.walk has it
        subfolders[:] = visible
        for name in names:
            if not name.startswith("."):
                path = Path(folder, name)
                found[path.relative_to(root).as_posix()] = path
    return found


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except PermissionError:
        raise UserError(f"{source} cannot be read: permission denied") from None
