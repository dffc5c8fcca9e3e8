"""Mend DVC's lock file, which a power cut or a kill at the wrong moment can leave cut off.

DVC rewrites `.dvc/tmp/rwlock` in place. While that file is cut off, every command of DVC that runs
or adds something fails, and DVC does not mend it.
"""

import contextlib
import json
import sys
from pathlib import Path


def mend(repository: Path = Path()) -> None:
    """Delete the lock file of a DVC repository if it is cut off.

    Nothing is lost: what it held is gone already, and it only names processes that run.
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
        # another DVC process holds the guard for too long: the next command of DVC says so
        with contextlib.suppress(LockError), guard:
            # the file may have been read in the middle of being written
            if not _is_valid(path):
                path.unlink()
                print(f"{path} was cut off, by a power cut perhaps: removed", file=sys.stderr)


def _is_valid(path: Path) -> bool:
    """Whether the file holds JSON, or does not exist."""
    try:
        json.loads(path.read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:  # neither JSON nor, perhaps, UTF-8
        return False
    return True
