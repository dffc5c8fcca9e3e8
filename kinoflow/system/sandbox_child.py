"""The process that kinoflow.bounded has functions run in: it answers calls until there are no more.

A call comes as two messages, its bounds with the deadline and then the pickled function with its
argument. Two go back: that it has begun, and `(kind, value, reusable)`.
"""

import contextlib
import os
import pickle
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinoflow.system.sandbox import Bounds

START_S = 60.0  # to start and to import what a call needs
# What a process may keep of a call's memory for the next one; one that keeps more is ended.
# Decoding real clips, 720p among them, leaves behind 1 to 12 MB.
_KEPT = 1 / 8


def _main() -> None:
    # neither what functions print nor what they start may come between calls and answers
    calls = Connection(os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    # the alarm's default is to kill, even inside native code; a parent may have ignored it
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    # Ctrl-C is for the parent, whose end ends this process too
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # a crash leaves no image of its memory on the disk
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # where memory runs short all the same, this process is to go, and not the one that it serves
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    with calls:
        _serve(calls)


def _serve(calls: Connection) -> None:
    """Answer calls until there are no more."""
    base = _address_space()
    while True:
        try:
            bounds, deadline = calls.recv()
            call = calls.recv_bytes()
        except (EOFError, OSError):
            return
        _set_alarm(START_S, deadline)
        modules, before = len(sys.modules), _address_space()
        function, argument = pickle.loads(call)  # noqa: S301 our own parent
        if len(sys.modules) > modules:
            # what the function needs is there to stay, and is none of its doing
            base += max(0, _address_space() - before)
        calls.send("begun")
        answer = _answer(function, argument, bounds, deadline)
        kept = _address_space() - base
        reusable = answer[0] != "memory" and kept <= _KEPT * bounds.memory_mb * 2**20
        calls.send_bytes(_packed(answer, reusable))


def _answer(
    function: Callable[[Any], Any], argument: Any, bounds: "Bounds", deadline: float | None
) -> tuple[str, Any]:
    used = _address_space()
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    if used:
        wanted = used + bounds.memory_mb * 2**20
        # `ulimit -v` and batch systems set a limit of their own, which cannot be exceeded
        limit = wanted if before == resource.RLIM_INFINITY else min(wanted, before)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    _set_alarm(bounds.seconds, deadline)
    try:
        return "returned", function(argument)
    except MemoryError:
        return "memory", None
    except Exception as error:  # noqa: BLE001 the caller is another process
        error.add_note(traceback.format_exc())
        # whose frames hold what they worked on
        return "raised", error.with_traceback(None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (before, most))


def _packed(answer: tuple[str, Any], reusable: bool) -> bytes:
    import cloudpickle

    kind, value = answer
    packed: bytes = cloudpickle.dumps((kind, value, reusable))
    if kind == "raised":
        try:
            pickle.loads(packed)  # noqa: S301 our own
        except Exception:  # noqa: BLE001 whatever its class does
            # some exceptions cannot be made again from what they hold
            error = RuntimeError("\n".join(value.__notes__))
            packed = cloudpickle.dumps((kind, error, reusable))
    return packed


def _set_alarm(seconds: float, deadline: float | None) -> None:
    if deadline is not None:
        seconds = min(seconds, deadline - time.monotonic())
    # zero would switch it off
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))


def _address_space() -> int:
    """Bytes of address space in use; 0 where the system does not tell."""
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        return 0
    return int(statistics.read_text(encoding="ascii").split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    _main()
