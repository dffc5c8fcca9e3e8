"""Run a function in a process of its own that may hang, crash or eat memory without harm.

Decoders of videos are native code that reads whatever it is given. Each call here has a bound
on time and memory, kept by the system and not by the code that is bounded: an alarm that kills
the process wherever it is, and a limit on its address space. The process lives on between calls,
since starting one takes longer than decoding a clip; but not one that has grown. No more of them
run at once than the machine has cores and memory for, so that all together are bounded too.
"""

import atexit
import contextlib
import functools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from kinoflow.system.sandbox_child import START_S

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_GRACE_S = 1.0  # after which a process that should have killed itself is killed from here
_OF_MACHINE = 3 / 4  # of its memory, for all processes together

# Threads of native libraries would make a second of the bound several of the processor, and each
# takes address space. They would gain nothing either: there is a process for each core already.
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1"
)


class OutOfBoundsError(Exception):
    """The call took too long, took too much memory or killed its process; the text says which."""


class LateError(OutOfBoundsError):
    """The caller's deadline passed first, which may be the fault of others.

    `begun` is whether the call had its turn at all; it waited for that for `waited` seconds.
    """

    def __init__(self, text: str, *, begun: bool = True, waited: float = 0) -> None:
        super().__init__(text)
        self.begun = begun
        self.waited = waited


@dataclass(frozen=True)
class Bounds:
    """What one call may take, and how many run at once."""

    seconds: float
    memory_mb: int  # beyond what the process takes when idle; enforced on Linux alone
    at_once: int = 0  # calls from this process that run side by side; 0: see `fitting`


def bounded(
    function: Callable[[Argument], Result],
    argument: Argument,
    bounds: Bounds,
    *,
    deadline: float | None = None,
) -> Result:
    """`function(argument)`, computed in another process. May be called from several threads.

    Calls beyond `bounds.at_once` wait for their turn, those that came first go first. Nothing
    goes on after `deadline`, in seconds of `time.monotonic()`: neither waiting nor computing.

    Raises OutOfBoundsError where the bounds are hit or the process dies, LateError where the
    deadline passes, and what `function` raises. A death that the bounds do not explain is given a
    second chance, because it may have been somebody else's doing: the system's out-of-memory
    killer picks as it likes. One before the call had begun does not count.
    """
    import cloudpickle

    call = cloudpickle.dumps((function, argument))
    asked = time.monotonic()
    with _turns.one(bounds.at_once or fitting(bounds.memory_mb), deadline):
        begun = time.monotonic()
        last = False
        while True:
            child = _Child.borrow()
            try:
                return child.call(call, bounds, deadline)
            except _DiedError as death:
                if deadline is not None and time.monotonic() >= deadline:
                    raise LateError(
                        f"it waited {begun - asked:.1f} s for its turn, and the "
                        f"{deadline - begun:.1f} s left were not enough",
                        waited=begun - asked,
                    ) from None
                if death.while_idle:
                    continue
                if death.by == signal.SIGALRM:
                    raise OutOfBoundsError(_too_long(death, bounds)) from None
                if last or _Child.ending:
                    name = signal.Signals(death.by).name if death.by else "it left"
                    raise OutOfBoundsError(
                        f"it crashes the process that reads it ({name})"
                    ) from None
                last = True


def fitting(memory_mb: int) -> int:
    """How many calls that may take so much memory fit this machine at once; at least one.

    No more than it has cores, and than three quarters of its memory hold.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, int(_OF_MACHINE * _memory() / (memory_mb * 2**20))))


def close() -> None:
    """End the idle processes of this process; the next call starts new ones."""
    while True:
        try:
            _Child.idle.get_nowait().end()
        except queue.Empty:
            return


@functools.cache
def _memory() -> int:
    """Bytes of memory of this machine, or of the container that this is."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        # there is none outside of control groups, and "max" where they set none
        with contextlib.suppress(OSError, ValueError):
            sizes.append(int((Path("/sys/fs/cgroup") / limit).read_text(encoding="ascii")))
    return min(sizes)


class _Turns:
    """Lets so many in at once, first come first served."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._running = 0

    @contextlib.contextmanager
    def one(self, most: int, deadline: float | None) -> Iterator[None]:
        """Wait until fewer than `most` run; LateError if that is not before the deadline."""
        came, ticket = time.monotonic(), object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                if not self._changed.wait_for(
                    lambda: self._waiting[0] is ticket and self._running < most,
                    None if deadline is None else deadline - came,
                ) or (deadline is not None and time.monotonic() >= deadline):
                    waited = time.monotonic() - came
                    text = f"it waited {waited:.1f} s for its turn, until its time was up"
                    raise LateError(text, begun=False, waited=waited)
                self._running += 1
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()


_turns = _Turns()


class _DiedError(Exception):
    """The process is gone."""

    def __init__(self, by: int, *, begun: bool, while_idle: bool) -> None:
        self.by = by  # a signal, 0 if there was none
        self.begun = begun  # whether it had started on the call
        self.while_idle = while_idle  # it was dead, or about to be, when the call came


def _too_long(death: _DiedError, bounds: Bounds) -> str:
    if death.begun:
        return f"it took longer than {bounds.seconds:g} s"
    return f"the process that reads it did not start within {START_S:g} s"


class _Child:
    """A process that answers one call at a time."""

    idle: ClassVar["queue.LifoQueue[_Child]"] = queue.LifoQueue()
    all: ClassVar["set[_Child]"] = set()
    ending: ClassVar[bool] = False  # whether this process is about to end

    @classmethod
    def borrow(cls) -> "_Child":
        """One that is idle and alive, or a new one."""
        while True:
            try:
                child = cls.idle.get_nowait()
            except queue.Empty:
                return cls()
            if child.process.poll() is None:
                return child
            child.end()

    def __init__(self) -> None:
        # functions are found by the names of their modules, as here
        path = os.pathsep.join(filter(None, sys.path))
        self.connection, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kinoflow.system.sandbox_child"],
                stdin=theirs.fileno(),
                env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
            )
        self.used = False
        self.all.add(self)

    def call(self, call: bytes, bounds: Bounds, deadline: float | None) -> Any:
        """What the call gives, or raises; _DiedError if it ends the process."""
        reusable = begun = False
        try:
            self.connection.send((bounds, deadline))
            self.connection.send_bytes(call)
            self._receive(START_S, deadline)
            begun = True
            # it has an alarm of its own, which only a process that was stopped does not heed
            kind, value, reusable = self._receive(bounds.seconds, deadline, grace=_GRACE_S)
        except (OSError, EOFError) as error:
            by = signal.SIGALRM if isinstance(error, TimeoutError) else -self.process.wait()
            raise _DiedError(max(by, 0), begun=begun, while_idle=self.used and not begun) from None
        finally:
            # whatever was raised, by Ctrl-C too: an answer may still be on its way
            if reusable:
                self.used = True
                self.idle.put(self)
            else:
                self.end()
        if kind == "raised":
            raise value
        if kind == "memory":
            raise OutOfBoundsError(f"it takes more than {bounds.memory_mb} MB of memory")
        return value

    def _receive(self, seconds: float, deadline: float | None, grace: float = 0) -> Any:
        """The next message; TimeoutError where none comes in time."""
        if deadline is not None:
            seconds = min(seconds, deadline - time.monotonic())
        if not self.connection.poll(max(0, seconds) + grace):
            raise TimeoutError
        return self.connection.recv()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()
        self.all.discard(self)


@atexit.register
def _end_all() -> None:
    _Child.ending = True
    for child in list(_Child.all):
        child.end()
