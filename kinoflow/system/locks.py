"""Locks between runs on one machine: what one of them writes, no other touches meanwhile.

`python -m kinoflow.locks FILE DOING COMMAND ...` runs a command while it holds a lock.

The kernel holds a lock for as long as its process lives, so that one that died, however it died,
never blocks another. Runs on several machines that share a folder over a network do not see each
other's locks on all file systems: let one machine do the work there.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from kinoflow.system import files
from kinoflow.system.errors import run

_POLL = 0.1  # seconds
_NOTE = "another run that is {} (process {})"
_UNKNOWN = "another run"


@contextlib.contextmanager
def held(path: Path, doing: str) -> Iterator[None]:
    """Hold the lock `path` while in the block; it is a file that is there only meanwhile.

    Where another process holds it, one line on stderr says what that is `doing`, and which it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"waiting for {_holder(path)}", file=sys.stderr, flush=True)
        lock.acquire(poll_interval=_POLL)
    try:
        # for the line above alone, so that a full disk is no reason to stop
        with contextlib.suppress(OSError):
            path.write_text(_NOTE.format(doing, os.getpid()), encoding="utf-8")
        yield
    finally:
        # while it is still held: who waits for it sees that the file is gone, and makes another
        path.unlink(missing_ok=True)
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock `path`."""
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    path.unlink(missing_ok=True)
    lock.release()
    return False


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8") or _UNKNOWN
    return _UNKNOWN


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, which takes that name on success.

    Several runs may make folders side by side: what a killed one left there is deleted, what a
    living one makes is not. Where one has made `path` meanwhile, that stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    partial = path.with_name(f"{files.TEMPORARY}{secrets.token_hex(8)}")
    # the lock comes first, so that no folder is ever without one
    with held(_lock_of(partial), f"making {path}"):
        partial.mkdir()
        try:
            yield partial
            if not path.exists():
                partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _sweep(parent: Path) -> None:
    for leftover in parent.glob(f"{files.TEMPORARY}*"):
        if leftover.suffix == ".lock":
            is_held(leftover)  # deletes one that nobody holds
        elif leftover.is_dir() and not is_held(_lock_of(leftover)):
            shutil.rmtree(leftover, ignore_errors=True)


def _lock_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.lock")


def main() -> None:
    path, doing, *command = sys.argv[1:]
    with held(Path(path), doing):
        # Ctrl-C reaches the command by itself, and the lock is held until that has ended
        signal.signal(signal.SIGINT, lambda *_: None)
        process = subprocess.Popen(command)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        code = process.wait()
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    run(main)
