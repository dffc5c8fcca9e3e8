"""What a service keeps from one start to the next: a folder with databases and videos."""

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kinoflow.system.errors import UserError, no_space

VARIABLE = "KINOFLOW_STATE"  # names the folder, instead of the setting
LOCK = "KINOFLOW_STATE_LOCK"  # the descriptor of the lock, which a supervisor hands to its workers
_WAIT_S = 5.0  # for a worker before this one, which may just be ending
_FULL = {"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_SHMSIZE"}


def folder(setting: str) -> Path:
    """The folder of the state: the one that the environment names, or the setting's."""
    return Path(os.environ.get(VARIABLE) or setting).absolute()


def take(path: Path) -> int:
    """Make the folder, for this user alone, and take it for this process until it ends.

    The processes of one service share the lock: all but the first inherit it.

    Returns the descriptor of the lock, which closing gives back. Raises UserError if another
    service has the folder, or if it cannot be made.
    """
    if inherited := os.environ.get(LOCK):
        return int(inherited)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UserError(
            f"the service cannot keep its state in {path} ({error.strerror}): choose another "
            f"folder with serving.state, --state or {VARIABLE}"
        ) from None
    until = time.monotonic() + _WAIT_S
    while not _locked(lock, fcntl.LOCK_EX):
        if time.monotonic() > until:
            os.close(lock)
            raise UserError(
                f"another service keeps its state in {path}: choose another folder with --state "
                f"or {VARIABLE}"
            )
        time.sleep(0.1)
    return lock


@contextlib.contextmanager
def turn(lock: Path, given_up: Callable[[], bool]) -> Iterator[bool]:
    """Wait until no other process is in such a block.

    Args:
        lock: a file that stands for the block.
        given_up: is asked whether to stop waiting.

    Yields whether it is the turn of this process; false if the wait was given up.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not (mine := _locked(descriptor, fcntl.LOCK_EX)) and not given_up():
            time.sleep(0.1)
        yield mine
    finally:
        os.close(descriptor)


class Videos:
    """A folder of videos that the rows of a database name. Several processes may add to it.

    Args:
        folder: is made if there is none.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.folder = folder
        self._lock = folder.with_name(f"{folder.name}.lock")

    @contextlib.contextmanager
    def adding(self) -> Iterator[None]:
        """In this block, there may be videos that no row names yet."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    def sweep(self, named: Callable[[], set[str]]) -> None:
        """Delete videos that no row names, unless one is being added: they were left by a kill.

        Args:
            named: gives the names of files that rows hold.
        """
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if _locked(descriptor, fcntl.LOCK_EX):
                known = named()
                for path in self.folder.iterdir():
                    if path.name not in known:
                        path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    """Lock an open file if that can be done at once. The kernel releases it after a kill."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Database:
    """A SQLite file that the threads of a process share, and a second process for a time.

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
    # not above: the supervisor, which answers no requests, takes the state as well
    from serving.refusals import Refusal

    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        full = error.sqlite_errorname in _FULL if isinstance(error, sqlite3.Error) else None
        if not (no_space(error) if isinstance(error, OSError) else full):
            raise
        raise Refusal(507, "there is no room on the disk just now: try again later") from None
