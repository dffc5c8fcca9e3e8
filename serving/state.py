"""What a service keeps from one start to the next: a folder with databases and videos."""

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from kinoflow.system.errors import UserError, no_space
from serving.refusals import Refusal

VARIABLE = "KINOFLOW_STATE"  # names the folder, instead of the setting
_WAIT_S = 5.0  # for a worker before this one, which may just be ending
_FULL = {"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_SHMSIZE"}


def folder(setting: str) -> Path:
    """The folder of the state: the one that the environment names, or the setting's."""
    return Path(os.environ.get(VARIABLE) or setting).absolute()


def take(path: Path) -> int:
    """Make the folder, for this user alone, and take it for this process until it ends.

    Returns the descriptor of the lock, which closing gives back. Raises UserError if another
    service has the folder, or if it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UserError(
            f"the service cannot keep its state in {path} ({error.strerror}): choose another "
            f"folder with serving.state, --state or {VARIABLE}"
        ) from None
    until = time.monotonic() + _WAIT_S
    while True:
        try:
            # the kernel gives it back when this process ends, even by a kill
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() < until:
                time.sleep(0.1)
                continue
            os.close(lock)
            raise UserError(
                f"another service keeps its state in {path}: choose another folder with --state "
                f"or {VARIABLE}"
            ) from None
        return lock


class Database:
    """A SQLite file that the threads of one process share.

    Args:
        path: the file, which need not exist.
        schema: statements that make the tables where there are none.
        durable: whether what is committed survives a power cut, which costs milliseconds. It
            survives a kill of the process in any case.

    Raises UserError for a file that is no such database.
    """

    def __init__(self, path: Path, schema: str, *, durable: bool) -> None:
        self._one_at_a_time = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._connection.executescript(schema)
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path} cannot be read ({error}): move it away") from None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all that is in the block or, after an exception, nothing.

        Raises Refusal (507) if the disk is full.
        """
        with self._one_at_a_time, room():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def close(self) -> None:
        with self._one_at_a_time:
            self._connection.close()


@contextlib.contextmanager
def room() -> Iterator[None]:
    """Raise Refusal (507) if the disk is full."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        full = error.sqlite_errorname in _FULL if isinstance(error, sqlite3.Error) else None
        if not (no_space(error) if isinstance(error, OSError) else full):
            raise
        raise Refusal(507, "there is no room on the disk just now: try again later") from None
