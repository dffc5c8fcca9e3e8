"""What a source offers: files with names, each of which can be fetched."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kinoflow.system.errors import UserError


@dataclass(frozen=True)
class Item:
    """One file that a source offers.

    Args:
        name: its path below data/, with forward slashes.
        fingerprint: a text that is cheap to get and changes whenever the content changes.
        fetch: writes the content to the path that it is given. It must be picklable, since a pool
            of processes calls it.
        original: a file of kinoflow's own with the same content, where there is one. data/ and
            this file may then share one place on the disk.
    """

    name: str
    fingerprint: str
    fetch: Callable[[Path], None]
    original: Path | None = None


def copied(path: Path, name: str) -> Item:
    """An item that copies the user's file at `path`.

    Raises UserError for a link that leads nowhere.
    """
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise UserError(f"{path} is a link that leads nowhere: mend or remove it") from None
    return Item(name, f"{stat.st_size}-{stat.st_mtime_ns}", partial(_copy, path))


def linked(path: Path, name: str, version: str) -> Item:
    """An item that links kinoflow's own file at `path`, or copies it where links do not work.

    `version` says which version of the file it is, apart from its size.
    """
    return Item(name, f"{version}-{path.stat().st_size}", partial(_link, path), path)


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except PermissionError:
        raise UserError(f"{source} cannot be read: permission denied") from None


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
