"""Locks between processes on one machine, so that no two write the same files at the same time.

`python -m kinoflow.system.locks FILE DOING COMMAND ...` runs a command while it holds a lock.

The kernel releases a lock when the process that holds it ends, even by a kill: a run that was
killed never blocks another. Not every network file system shows one machine's locks to others, so
let one machine do the work in a shared folder.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from kinoflow.system import files
from kinoflow.system.errors import run

_POLL = 0.1  # seconds
# Seconds to wait without a message: `is_held` in another process holds a lock for a moment.
_SILENT = 0.5
_NOTE = "another run that is {} (process {})"
_UNKNOWN = "another run"
_OWNER = "owner"  # file name of a temporary folder's lock, which lies in that folder


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def held(path: Path, doing: str, say: Callable[[str], None] = _print) -> Iterator[None]:
    """Hold the lock `path` in the block. The lock is a file, which is deleted afterwards.

    Args:
        path: the lock.
        doing: what this process does, for those who wait for it.
        say: called with one line on what the other process is doing, if another one holds the
            lock; without it, the line goes to stderr.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_SILENT, poll_interval=_POLL / 10)
    except Timeout:
        say(f"waiting for {_holder(path)}")
        lock.acquire(poll_interval=_POLL)
    try:
        # the note is only for the message above, so a full disk is no reason to fail
        with contextlib.suppress(OSError):
            path.write_text(_NOTE.format(doing, os.getpid()), encoding="utf-8")
        yield
    finally:
        # before the release: a waiting process sees that the file is gone, and makes a new one
        path.unlink(missing_ok=True)
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock `path`; if none does, its file is deleted."""
    if not path.exists():
        return False
    lock = _acquired(path)
    if lock is None:
        return True
    path.unlink(missing_ok=True)
    lock.release()
    return False


def _acquired(path: Path) -> FileLock | None:
    """Acquire the lock `path` and return it; None if another process holds it."""
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8") or _UNKNOWN
    return _UNKNOWN


# === Folders that several runs make side by side ===


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, and rename it to `path` on success.

    Temporary folders of killed runs are deleted first; those of living runs are not. If another
    run has made `path` in the meantime, its folder stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    partial = path.with_name(f"{files.TEMPORARY}{secrets.token_hex(8)}")
    # the lock comes first: other runs delete a temporary folder without one
    with held(_lock_of(partial), f"making {path}"):
        partial.mkdir()
        try:
            yield partial
            if not path.exists():
                partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Delete what killed runs of `new_folder` left in a folder."""
    for leftover in parent.glob(f"{files.TEMPORARY}*"):
        if leftover.suffix == ".lock":
            is_held(leftover)  # deletes a lock that nobody holds
        elif leftover.is_dir() and not is_held(_lock_of(leftover)):
            shutil.rmtree(leftover, ignore_errors=True)


def _lock_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.lock")


@contextlib.contextmanager
def temporary_folder(prefix: str, doing: str) -> Iterator[Path]:
    """Yield a folder in the system's temporary directory, and delete it after the block.

    Folders with the same `prefix` that killed runs of this user left there are deleted first. All
    users write to that directory. So the lock lies within the folder, which no other user can
    enter, and folders that belong to others or hold no lock are left alone.

    Args:
        prefix: how the folder's name begins.
        doing: what this process does, for the lock's note.
    """
    for leftover in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _delete_leftover(leftover)
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        folder = Path(name)
        # the lock gets its name once it is held: before, other runs would take it for a leftover
        with held(folder / f".{_OWNER}", doing):
            (folder / f".{_OWNER}").rename(folder / _OWNER)
            yield folder


def _delete_leftover(folder: Path) -> None:
    # other users may have put anything there, under any name
    with contextlib.suppress(OSError):
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return
        if (folder / _OWNER).is_file() and (lock := _acquired(folder / _OWNER)):
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()


def main() -> None:
    path, doing, *command = sys.argv[1:]
    with held(Path(path), doing):
        # the terminal sends Ctrl-C to the command too; hold the lock until the command has ended
        signal.signal(signal.SIGINT, lambda *_: None)
        process = subprocess.Popen(command)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        code = process.wait()
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    run(main)
