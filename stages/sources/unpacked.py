"""Archives brought and unpacked, each once, below one folder.

All that is kept there of an archive bears a mark of its whole address, or of its path, size and
date, so that nothing is ever taken for what lies behind another address.
"""

import hashlib
from pathlib import Path

from kinoflow.system import locks
from stages.sources.archives import unpack
from stages.sources.transfer import Remote, discard, fetch


def from_address(remote: Remote, downloads: Path, max_gb: float, *, nested: bool = False) -> Path:
    """The folder with what the archive behind an address holds; it is fetched at most once.

    One that came whole and could not be unpacked yet is fetched again if the server has another
    one now. Raises UserError as `fetch` and `unpack` do.
    """
    folder = folder_of(remote, downloads)
    # the name says of which address it is as well: a part of another file is never gone on from
    archive = downloads / f"{_mark(remote.url)}-{remote.name[-100:]}"
    with locks.held(_lock(folder), f"bringing {remote.name}"):
        if not folder.exists():
            fetch(remote, archive)
            unpack(archive, folder, max_gb, nested=nested)
            discard(archive)
    return folder


def folder_of(remote: Remote, downloads: Path) -> Path:
    """Where what the archive behind an address holds is unpacked to."""
    return _folder(downloads, remote.name, remote.url)


def from_file(archive: Path, downloads: Path, max_gb: float, *, nested: bool = False) -> Path:
    """The folder with what an archive on this machine holds, unpacked again if that changed.

    Raises UserError as `unpack` does.
    """
    stat = archive.stat()
    identity = f"{archive.absolute()} {stat.st_size} {stat.st_mtime_ns}"
    folder = _folder(downloads, archive.name, identity)
    with locks.held(_lock(folder), f"unpacking {archive.name}"):
        if not folder.exists():
            unpack(archive, folder, max_gb, nested=nested)
    return folder


def _folder(downloads: Path, name: str, identity: str) -> Path:
    return downloads / f"{Path(name).stem[-100:]}-{_mark(identity)}"


def _lock(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _mark(identity: str) -> str:
    return hashlib.md5(identity.encode(), usedforsecurity=False).hexdigest()[:8]
