"""Bentos that are extracted for serving."""

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinoflow.bentos import Identity, extract_bento, identify
from kinoflow.system.errors import UserError


@dataclass(frozen=True)
class Release:
    """An extracted Bento.

    Args:
        folder: where it is.
        file: the .bento file that it was extracted from; None: it is served in place.
        identity: of that file when it was extracted.
    """

    folder: Path
    file: Path | None = None
    identity: Identity | None = None

    @property
    def name(self) -> str:
        return str(self.file or self.folder)


def unpack(bento: Path, folder: Path) -> Release:
    """Extract a .bento file into a folder.

    Raises UserError if it is missing, no whole Bento, or one that cannot be checked.
    """
    try:
        # before it is read: if it is replaced meanwhile, what is served differs from what is there
        identity = identify(bento)
    except FileNotFoundError:
        raise UserError(f"there is no file {bento}") from None
    extract_bento(bento, folder)
    if not (folder / "src" / "check").is_dir():
        raise UserError(
            f"{bento} holds no videos to check it by, as Bentos of older versions of kinoflow: "
            "pack it again"
        )
    return Release(folder, bento, identity)


def setting(release: Release, name: str, *, optional: bool = False) -> Any:
    """A setting of a Bento; None for an optional one that it does not have.

    Raises UserError if it does not have another one.
    """
    path = release.folder / "src" / "serving.json"
    try:
        # the Bento may be of another version, and know other settings than this code
        settings = json.loads(path.read_bytes())
        return settings.get(name) if optional else settings[name]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path} is missing or damaged: the service runs from a Bento") from None


class Unpacking:
    """Extracts a .bento file in a thread.

    Args:
        bento: the file.
        identity: of the file.
        folder: where to extract it.
    """

    def __init__(self, bento: Path, identity: Identity, folder: Path) -> None:
        self.bento = bento
        self.identity = identity
        self.folder = folder
        self.release: Release | None = None
        self.problem = ""  # why there is no release, once the thread has ended
        self._thread = threading.Thread(target=self._unpack, daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def _unpack(self) -> None:
        try:
            self.release = unpack(self.bento, self.folder)
        except (UserError, OSError) as problem:
            self.problem = str(problem)
        except Exception as problem:  # noqa: BLE001 whatever it is, the service goes on without it
            self.problem = f"{type(problem).__name__}: {problem}"
