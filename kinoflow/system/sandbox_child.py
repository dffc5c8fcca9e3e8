"""The program of a sandbox process: it answers calls until its parent closes the connection."""

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
from typing import Any

from kinoflow.system import lean
from kinoflow.system.sandbox_messages import BEGUN, START_S, Answer, Request

# The share of its memory bound that a process may keep from one call to the next; a process that
# keeps more is ended. Decoding real clips, 720p among them, leaves behind 1 to 12 MB.
_MAX_KEPT = 1 / 8


def _main() -> None:
    # What a function reads or prints, or a program that it starts, must not mix with the messages:
    # stdin becomes empty, and stdout goes to stderr.
    connection = Connection(os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    # by default the alarm kills the process, even inside native code; a parent may have ignored it
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    # Ctrl-C is for the parent, which ends this process when it ends itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(int(sys.argv[1]))
    # a crash writes no core dump
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # if the machine runs out of memory, the kernel is to kill this process rather than its parent
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    lean.start_sooner()
    with connection:
        _answer_calls(connection)


def _answer_calls(connection: Connection) -> None:
    """Answer calls until the parent closes the connection."""
    idle = _address_space()
    while True:
        try:
            request: Request = connection.recv()
            call = connection.recv_bytes()
        except (EOFError, OSError):
            return
        _set_alarm(START_S, request.deadline)
        modules, before = len(sys.modules), _address_space()
        function, argument = pickle.loads(call)  # noqa: S301 our own parent
        if len(sys.modules) > modules:
            # imported modules stay loaded: their memory is not leaked by the call
            idle += max(0, _address_space() - before)
        connection.send(BEGUN)
        kind, value = _run(function, argument, request)
        kept = _address_space() - idle
        reusable = kind != "memory" and kept <= _MAX_KEPT * request.memory_mb * 2**20
        connection.send_bytes(_pickled(Answer(kind, value, reusable)))


def _run(function: Callable[[Any], Any], argument: Any, request: Request) -> tuple[Any, Any]:
    """Call the function within its bounds; return the kind and the value of the answer."""
    used = _address_space()
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    if used:
        wanted = used + request.memory_mb * 2**20
        # `ulimit -v` and batch systems set a limit of their own, which cannot be exceeded
        limit = wanted if before == resource.RLIM_INFINITY else min(wanted, before)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    _set_alarm(request.seconds, request.deadline)
    try:
        return "returned", function(argument)
    except MemoryError:
        return "memory", None
    except Exception as error:  # noqa: BLE001 the caller is another process
        error.add_note(traceback.format_exc())
        # the frames of a traceback would keep the function's objects alive
        return "raised", error.with_traceback(None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (before, most))


def _pickled(answer: Answer) -> bytes:
    import cloudpickle

    pickled: bytes = cloudpickle.dumps(answer)
    if answer.kind == "raised":
        try:
            pickle.loads(pickled)  # noqa: S301 our own
        except Exception:  # noqa: BLE001 the exception's class may raise anything
            # it cannot be unpickled if its class takes other arguments than those in its `args`
            error = RuntimeError("\n".join(answer.value.__notes__))
            pickled = cloudpickle.dumps(answer._replace(value=error))
    return pickled


def _set_alarm(seconds: float, deadline: float | None) -> None:
    """Have the kernel kill this process after `seconds`, or at the deadline if that is earlier."""
    if deadline is not None:
        seconds = min(seconds, deadline - time.monotonic())
    # zero would switch the alarm off
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))


def _address_space() -> int:
    """Bytes of address space in use; 0 where the system does not tell."""
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        return 0
    return int(statistics.read_text(encoding="ascii").split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    _main()
