"""DVC's file of locks, which does not survive a power cut or a kill at the wrong moment.

DVC rewrites `.dvc/tmp/rwlock` in place. A file that was cut off stops every later command of DVC
that runs or adds something, and DVC itself never gets past it.
"""

import contextlib
import json
import sys
from pathlib import Path


def mend(folder: Path = Path()) -> None:
    """Remove the file of locks of DVC's repository in `folder` if it is not whole.

    Nothing is lost: what it said was lost before, and it only speaks of processes that run.
    """
    path = folder / ".dvc/tmp/rwlock"
    if _whole(path):
        return
    from dvc.lock import LockError, make_lock
    from dvc.repo import Repo

    with Repo(str(folder)) as repo:
        guard = make_lock(
            f"{path}.lock",
            tmp_dir=repo.tmp_dir,
            hardlink_lock=repo.config["core"].get("hardlink_lock", False),
        )
        # who cannot be waited for holds the file, and DVC says so in its own words
        with contextlib.suppress(LockError), guard:
            # another DVC may have been halfway through writing it
            if not _whole(path):
                path.unlink()
                print(f"{path} was cut off, by a power cut perhaps: removed", file=sys.stderr)


def _whole(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:  # of UTF-8 as well
        return False
    return True
