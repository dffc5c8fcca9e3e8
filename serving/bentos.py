"""The .bento files in dist/, and what is in one."""

import lzma
import tarfile
from pathlib import Path

from kinoflow.system.errors import UserError


def newest(folder: Path) -> Path:
    """The .bento file that was made last. Raises UserError if the folder holds none."""
    bentos = sorted(folder.glob("[!.]*.bento"), key=lambda path: path.stat().st_mtime)
    if not bentos:
        raise UserError(f"{folder}/ holds no Bento: make one with `make repro`")
    return bentos[-1]


def extract_bento(bento: Path, folder: Path) -> None:
    """Extract a .bento file into a folder. Raises UserError if it is missing or no whole Bento."""
    if not bento.is_file():
        raise UserError(f"there is no file {bento}")
    try:
        with tarfile.open(bento) as archive:
            # "data": nothing lands outside the folder, no links out of it, no devices
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, lzma.LZMAError, EOFError):
        raise UserError(f"{bento} is no Bento, or a damaged one") from None
    if not (folder / "bento.yaml").is_file():
        raise UserError(f"{bento} is no Bento")
