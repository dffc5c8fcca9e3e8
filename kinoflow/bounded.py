"""Run a function in a process of its own that may hang, crash or eat memory without harm.

Decoders of videos are native code that reads whatever it is given. Each call here has a bound
on time and memory, kept by the system and not by the code that is bounded: an alarm that kills
the process wherever it is, and a limit on its address space. The process lives on between calls,
since starting one takes longer than decoding a clip.
"""

import atexit
import os
import pickle
import queue
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class OutOfBoundsError(Exception):
    """The call took too long, took too much memory or killed its process; the text says which."""


@dataclass(frozen=True)
class Bounds:
    """What one call may take."""

    seconds: float
    memory_mb: int  # beyond what the process takes when idle; enforced on Linux alone


def bounded(function: Callable[[Argument], Result], argument: Argument, bounds: Bounds) -> Result:
    """`function(argument)`, computed in another process. May be called from several threads.

    Raises OutOfBoundsError where the bounds are hit or the process dies, and what `function`
    raises. A death that the bounds do not explain is given a second chance, because it may have
    been somebody else's doing: the system's out-of-memory killer picks as it likes.
    """
    import cloudpickle

    call = cloudpickle.dumps((function, argument, bounds))
    for last in (False, True):
        child = _Child.borrow()
        try:
            return child.call(call, bounds)
        except _DiedError as death:
            if death.by == signal.SIGALRM:
                raise OutOfBoundsError(f"it took longer than {bounds.seconds:g} s") from None
            if last:
                name = signal.Signals(death.by).name if death.by else "it left"
                raise OutOfBoundsError(f"it crashes the process that reads it ({name})") from None
        finally:
            child.give_back()
    raise AssertionError("unreachable")


def close() -> None:
    """End the idle processes of this process; the next call starts new ones."""
    while True:
        try:
            _Child.idle.get_nowait().end()
        except queue.Empty:
            return


class _DiedError(Exception):
    """The process is gone; `by` is the signal, 0 if there was none."""

    def __init__(self, by: int) -> None:
        self.by = by


class _Child:
    """A process that answers one call at a time over a pair of pipes."""

    idle: ClassVar["queue.LifoQueue[_Child]"] = queue.LifoQueue()

    @classmethod
    def borrow(cls) -> "_Child":
        try:
            return cls.idle.get_nowait()
        except queue.Empty:
            return cls()

    def __init__(self) -> None:
        # functions are found by the names of their modules, as here
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kinoflow.bounded"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def call(self, call: bytes, bounds: Bounds) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            _send(self.process.stdin, call)
            kind, value = pickle.loads(_receive(self.process.stdout))  # noqa: S301 our own child
        except (OSError, EOFError):
            raise _DiedError(-min(self.process.wait(), 0)) from None
        if kind == "raised":
            raise value
        if kind == "memory":
            raise OutOfBoundsError(f"it takes more than {bounds.memory_mb} MB of memory")
        return value

    def give_back(self) -> None:
        if self.process.poll() is None:
            self.idle.put(self)
        else:
            self.end()

    def end(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait()


def _send(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(len(message).to_bytes(8, "little") + message)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes:
    header = pipe.read(8)
    message = pipe.read(int.from_bytes(header, "little"))
    if len(header) < 8 or len(message) < int.from_bytes(header, "little"):
        raise EOFError
    return message


def _serve(calls: IO[bytes], answers: IO[bytes]) -> None:
    """Answer calls until there are no more."""
    while True:
        try:
            function, argument, bounds = pickle.loads(_receive(calls))  # noqa: S301 our own parent
        except EOFError:
            return
        _send(answers, _answer(function, argument, bounds))


def _answer(function: Callable[[Any], Any], argument: Any, bounds: Bounds) -> bytes:
    import cloudpickle

    used = _address_space()
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    if used:
        wanted = used + bounds.memory_mb * 2**20
        # `ulimit -v` and batch systems set a limit of their own, which cannot be exceeded
        limit = wanted if before == resource.RLIM_INFINITY else min(wanted, before)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    signal.setitimer(signal.ITIMER_REAL, bounds.seconds)
    try:
        answer = ("returned", function(argument))
    except MemoryError:
        answer = ("memory", None)
    except Exception as error:  # noqa: BLE001 the caller is another process
        error.add_note(traceback.format_exc())
        answer = ("raised", error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (before, most))
    return cloudpickle.dumps(answer)


def _address_space() -> int:
    """Bytes of address space in use; 0 where the system does not tell."""
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        return 0
    return int(statistics.read_text(encoding="ascii").split()[0]) * resource.getpagesize()


def _main() -> None:
    # what functions print must not end up among the answers
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # the alarm's default is to kill, even inside native code; a parent may have ignored it
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # Ctrl-C is for the parent, whose end ends this process too
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with answers:
        _serve(sys.stdin.buffer, answers)


atexit.register(close)

if __name__ == "__main__":
    _main()
