"""Mend DVC's lock file, which a power cut or a kill at the wrong moment can truncate.

DVC rewrites `.dvc/tmp/rwlock` in place. While that file is truncated, every DVC command that runs
or adds something fails, and DVC does not mend it.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def mend(repository: Path = Path()) -> None:
    """Delete the lock file of a DVC repository if it is truncated.

    Nothing is lost: the file only lists the locks of running processes, and a truncated list is
    of no use.
    """
    path = repository / ".dvc/tmp/rwlock"
    if _is_valid(path):
        return
    from dvc.lock import LockError

    # LockError: another DVC process holds the guard for long; the next DVC command says so
    with contextlib.suppress(LockError), _guarded(repository, path):
        # check again: the first check may have read the file while DVC was writing it
        if not _is_valid(path):
            path.unlink()
            print(f"{path} was cut off, perhaps by a power cut: removed", file=sys.stderr)


def is_busy(repository: Path = Path()) -> bool:
    """Whether a living DVC process reads or writes what a DVC repository tracks."""
    path = repository / ".dvc/tmp/rwlock"
    return _is_valid(path) and any(map(_lives, _holders(path)))


def drop_dead(repository: Path = Path()) -> None:
    """Remove the locks of DVC processes of this machine that were killed.

    DVC leaves them there until another process wants the same file. By then, their numbers may be
    those of other processes. No DVC process of another machine may be running.
    """
    path = repository / ".dvc/tmp/rwlock"
    if not _is_valid(path) or all(map(_lives, _holders(path))):
        return
    from dvc.lock import LockError

    with contextlib.suppress(LockError), _guarded(repository, path):
        held = json.loads(path.read_bytes())
        reading = {
            name: [entry for entry in entries if _lives(entry)]
            for name, entries in held.get("read", {}).items()
        }
        writing = {name: entry for name, entry in held.get("write", {}).items() if _lives(entry)}
        left = {
            "read": {name: entries for name, entries in reading.items() if entries},
            "write": writing,
        }
        path.write_text(json.dumps(left), encoding="utf-8")


def _holders(path: Path) -> list[dict[str, Any]]:
    """The entries of a valid lock file, one for each file that a process reads or writes."""
    if not path.exists():
        return []
    held = json.loads(path.read_bytes())
    readers = [entry for entries in held.get("read", {}).values() for entry in entries]
    return [*readers, *held.get("write", {}).values()]


def _lives(holder: dict[str, Any]) -> bool:
    import psutil  # type: ignore[import-untyped]

    return bool(psutil.pid_exists(holder["pid"]))


def forget(repository: Path, command: str) -> None:
    """Remove the locks of DVC processes that have ended, and whose command line ended in `command`.

    DVC does so itself, but takes a process for a living one if its number is that of any process on
    this machine. A process that was killed on another machine may then block others for ever.

    Args:
        repository: the folder of a DVC repository.
        command: the last arguments of these processes, separated by spaces. No process with these
            may be running.
    """
    path = repository / ".dvc/tmp/rwlock"
    if not path.exists():
        return
    with _guarded(repository, path):
        held = json.loads(path.read_bytes())

        def is_living(entry: dict[str, str]) -> bool:
            return not entry["cmd"].endswith(f" {command}")

        reading = {
            name: [entry for entry in entries if is_living(entry)]
            for name, entries in held.get("read", {}).items()
        }
        writing = {name: entry for name, entry in held.get("write", {}).items() if is_living(entry)}
        left = {
            "read": {name: entries for name, entries in reading.items() if entries},
            "write": writing,
        }
        path.write_text(json.dumps(left), encoding="utf-8")


@contextlib.contextmanager
def _guarded(repository: Path, path: Path) -> Iterator[None]:
    """Keep DVC processes from changing the lock file `path`. Raises LockError if one holds on."""
    from dvc.lock import make_lock
    from dvc.repo import Repo

    with Repo(str(repository)) as repo:
        guard = make_lock(
            f"{path}.lock",
            tmp_dir=repo.tmp_dir,
            hardlink_lock=repo.config["core"].get("hardlink_lock", False),
        )
        with guard:
            yield


def _is_valid(path: Path) -> bool:
    """Whether the file holds JSON, or does not exist."""
    try:
        json.loads(path.read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:  # neither JSON nor, perhaps, UTF-8
        return False
    return True
