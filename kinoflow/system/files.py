"""Writing files so that a half-written one is never taken for done, whatever is killed when.

What takes a name is on the disk before it does, so that a power cut changes nothing of this.
"""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TEMPORARY = ".partial-"


_ASIDE = ".replaced-"
_EXCHANGE = 2  # renameat2's RENAME_EXCHANGE
_HERE = -100  # its AT_FDCWD


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, else delete it.

    The temporary name keeps the suffix, since writers of pictures and videos go by it. Waiting
    for the disk takes milliseconds a file: of many files that one table lists, write each with
    `durable=False`, and `flush` them all before the table.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # the end alone, since a name may already be as long as names can be
    partial = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name[-50:]}")
    try:
        yield partial
        if durable and not partial.is_symlink():
            _sync(partial)
        partial.replace(path)
        if durable:
            _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it takes the place of `path`.

    At every moment `path` is the old folder or the new one. Where the file system cannot
    exchange two folders (NFS, or no Linux), a kill between two renames leaves neither; `settle`
    then brings back the old one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    settle(path)
    partial = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=path.parent))
    partial.chmod(0o755)
    try:
        yield partial
        flush(partial)
        if not path.exists():
            partial.replace(path)
        elif not _exchange(partial, path):
            path.replace(_aside(path))
            try:
                partial.replace(path)
            finally:
                settle(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def settle(path: Path) -> None:
    """Undo or complete what a kill left of `replacing_folder(path)` where it takes two renames.

    To be called before the folder is read by whoever cannot do without the old one.
    """
    aside = _aside(path)
    if path.exists():
        shutil.rmtree(aside, ignore_errors=True)
    elif aside.exists():
        aside.replace(path)


def flush(folder: Path) -> None:
    """Wait until all that was written to the file system of `folder` is on the disk."""
    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except AttributeError:
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some file systems have no such thing for folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders swap their names in one step; False where that cannot be done."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _aside(path: Path) -> Path:
    return path.with_name(f"{_ASIDE}{path.name[-50:]}")


def sweep(folder: Path) -> None:
    """Delete what a killed process left half-written below `folder`.

    The caller holds the lock of `folder`, so that no living process writes there.
    """
    for leftover in folder.rglob(f"{TEMPORARY}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON in a stable form, so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def md5(path: Path) -> str:
    """The content's MD5 in hex: an identity, as DVC uses it, not a protection."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def folder_md5(folder: Path) -> str:
    """One MD5 over the names and contents of all files below `folder`."""
    digest = hashlib.md5(usedforsecurity=False)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{md5(path)}\n".encode())
    return digest.hexdigest()
