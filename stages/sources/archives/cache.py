"""The folders that archives were unpacked to: one for each archive, filled once, in .downloads/.

The name of a folder holds a hash of the archive's whole address, or of its path, size and date. So
the content of one archive is never taken for that of another.
"""

import hashlib
from pathlib import Path

from kinoflow.system import locks
from stages.sources.archives.unpack import unpack
from stages.sources.remote import resumable
from stages.sources.remote.resumable import RemoteFile


def from_address(
    remote: RemoteFile, downloads: Path, max_gb: float, *, nested: bool = False
) -> Path:
    """The folder with the content of the archive behind an address, which is unpacked only once.

    An archive that was downloaded whole but cannot be unpacked is kept. The next run downloads it
    again only if the server has another version of it.

    Args:
        remote: the archive's address, with its size and checksum where known.
        downloads: the folder .downloads/.
        max_gb: see `unpack`.
        nested: see `unpack`.

    Raises UserError as `resumable.download` and `unpack` do.
    """
    folder = folder_of(remote, downloads)
    # the hash in its name keeps a download from continuing a part from another address
    archive = downloads / f"{_digest(remote.url)}-{remote.name[-100:]}"
    with locks.held(_lock(folder), f"bringing {remote.name}"):
        if not folder.exists():
            resumable.download(remote, archive)
            unpack(archive, folder, max_gb, nested=nested)
            resumable.discard(archive)
    return folder


def folder_of(remote: RemoteFile, downloads: Path) -> Path:
    """The folder that the archive behind an address is unpacked to."""
    return _folder(downloads, remote.name, remote.url)


def from_file(archive: Path, downloads: Path, max_gb: float, *, nested: bool = False) -> Path:
    """The folder with the content of an archive on this machine.

    It is unpacked once, and again after it has changed. `max_gb` and `nested` are those of
    `unpack`. Raises UserError as `unpack` does.
    """
    stat = archive.stat()
    identity = f"{archive.absolute()} {stat.st_size} {stat.st_mtime_ns}"
    folder = _folder(downloads, archive.name, identity)
    with locks.held(_lock(folder), f"unpacking {archive.name}"):
        if not folder.exists():
            unpack(archive, folder, max_gb, nested=nested)
    return folder


def _folder(downloads: Path, name: str, identity: str) -> Path:
    return downloads / f"{Path(name).stem[-100:]}-{_digest(identity)}"


def _lock(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _digest(identity: str) -> str:
    return hashlib.md5(identity.encode(), usedforsecurity=False).hexdigest()[:8]
