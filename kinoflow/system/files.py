"""Write files and folders whole or not at all, even if the process is killed meanwhile.

Everything is written under a temporary name and then renamed. It is on the disk before the
rename, so that even a power cut leaves nothing half-written under the final name.
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

TEMPORARY = ".partial-"  # how the names of unfinished files and folders begin
_REPLACED = ".replaced-"

# arguments of the system call renameat2
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


# === Files ===


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, else delete it.

    The temporary name keeps the suffix, by which libraries choose the format.

    Args:
        path: the file to write.
        durable: whether to wait until the file is on the disk, which takes milliseconds. For many
            files that one table lists, do not wait for each: call `flush` once, before you write
            the table.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # only the end of the name, because the whole name may already be as long as allowed
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


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all; equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the value that a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


# === Folders ===


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it replaces `path`.

    At every moment `path` is the old folder or the new one. Where the file system cannot exchange
    two folders (NFS, or no Linux), this takes two renames. A kill between them leaves no folder
    at `path` until `settle` brings back the old one.
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
            path.replace(_replaced(path))
            try:
                partial.replace(path)
            finally:
                settle(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def settle(path: Path) -> None:
    """Complete or undo a `replacing_folder(path)` that was killed between its two renames.

    Call it before reading a folder that must not be missing.
    """
    replaced = _replaced(path)
    if path.exists():
        shutil.rmtree(replaced, ignore_errors=True)
    elif replaced.exists():
        replaced.replace(path)


def sweep(folder: Path) -> None:
    """Delete what killed processes left half-written below `folder`.

    Hold the lock of `folder` meanwhile, so that no living process is writing there.
    """
    for leftover in folder.rglob(f"{TEMPORARY}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _replaced(path: Path) -> Path:
    """The name of the old folder while the new one is renamed to `path`."""
    return path.with_name(f"{_REPLACED}{path.name[-50:]}")


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; False where the system cannot do that."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


# === Waiting for the disk ===


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
    """Wait until a file, or the list of names in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some file systems cannot do this for folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


# === Identity ===


def md5(path: Path) -> str:
    """The MD5 of a file's content in hex, as DVC uses it; it is no protection against forgery."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def folder_md5(folder: Path) -> str:
    """One MD5 in hex over the names and contents of all files below `folder`."""
    digest = hashlib.md5(usedforsecurity=False)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{md5(path)}\n".encode())
    return digest.hexdigest()
