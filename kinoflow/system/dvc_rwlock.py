"""Mend DVC's lock file, which a power cut or a kill at the wrong moment can truncate.

DVC rewrites `.dvc/tmp/rwlock` in place. While that file is truncated, every DVC command that runs
or adds something fails, and DVC does not mend it.
"""

import contextlib
import json
import sys
from pathlib import Path


def mend(repository: Path = Path()) -> None:
    """Delete the lock file of a DVC repository if it is truncated.

    Nothing is lost: the file only lists the locks of running processes, and a truncated list is
    of no use.
    """
    path = repository / ".dvc/tmp/rwlock"
    if _is_valid(path):
        return
    from dvc.lock import LockError, make_lock
    from dvc.repo import Repo

    with Repo(str(repository)) as repo:
        guard = make_lock(
            f"{path}.lock",
            tmp_dir=repo.tmp_dir,
            hardlink_lock=repo.config["core"].get("hardlink_lock", False),
        )
        # LockError: another DVC process holds the guard for long; the next DVC command says so
        with contextlib.suppress(LockError), guard:
            # check again: the first check may have read the file while DVC was writing it
            if not _is_valid(path):
                path.unlink()
                print(f"{path} was cut off, perhaps by a power cut: removed", file=sys.stderr)


def _is_valid(path: Path) -> bool:
    """Whether the file holds JSON, or does not exist."""
    try:
        json.loads(path.read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:  # neither JSON nor, perhaps, UTF-8
        return False
    return True
