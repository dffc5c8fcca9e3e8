"""A temporary folder that is deleted even if the server that made it was killed."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "kinoflow-serve-"
_OWNER = "owner"  # the file in a folder that its server keeps locked for as long as it lives


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that lasts as long as the block; delete those of killed servers first."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _delete_if_abandoned(folder)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        folder = Path(name)
        # the file takes its name only when it is locked: without a lock it would look abandoned
        with (folder / f".{_OWNER}").open("w") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            (folder / f".{_OWNER}").rename(folder / _OWNER)
            yield folder


def _delete_if_abandoned(folder: Path) -> None:
    # /tmp is everybody's: a folder of this name may be another user's, or be deleted meanwhile
    with contextlib.suppress(OSError):
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return
        with (folder / _OWNER).open() as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
