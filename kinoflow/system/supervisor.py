"""Run a command so that its whole process tree ends when its owner does, however the owner ends.

A process that is killed outright cleans up nothing, so another process has to. `run_supervised`
runs the command below a supervisor, which is this file run as a script. The supervisor holds the
reading end of a pipe, and only the owner holds the writing end. When the owner is gone, the kernel
closes the writing end; the supervisor then ends the command, its children, and theirs.

The supervisor leads a session of its own. So Ctrl-C in the terminal reaches only the owner, which
ends the command in an orderly way.
"""

import contextlib
import os
import queue
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

GRACE = 10.0  # seconds between asking a process to end and killing it

# Seconds after which a wait begins anew. Python runs handlers of signals between two instructions.
# A signal that comes just before an endless wait, or that another thread gets, does not end it.
_HEED = 0.5

_POLL = 0.05
_PR_SET_CHILD_SUBREAPER = 36
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# exit codes, as shells give them
_NOT_EXECUTABLE = 126
_NOT_FOUND = 127
_BY_SIGNAL = 128


@contextlib.contextmanager
def run_supervised(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: int | IO[str] | None = None,
    stderr: int | IO[str] | None = None,
    grace: float = GRACE,
) -> Iterator[subprocess.Popen[str]]:
    """Run `command` without input; end its whole process tree when the block is left.

    The tree also ends if this process dies inside the block. Processes that outlive the command
    are ended too. Each process gets SIGTERM and, `grace` seconds later, SIGKILL.

    Args:
        command: the program and its arguments.
        cwd, env, stdout, stderr: as for `subprocess.Popen`.
        grace: seconds between SIGTERM and SIGKILL.

    Yields the supervisor's process. Its exit code is the command's, or 128 + N if signal N killed
    the command, or 127 if there is no such command, or 126 if it cannot be started.

    On systems other than Linux, a process that moved to a session of its own and lost its parent
    is not found.
    """
    # -I -S: only the standard library. Packages of the environment, psutil included, take time to
    # import (a third of the start) and may be broken, but the supervisor always has to work.
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(grace), *command],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=env,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            try:
                _close_and_wait(process, grace)
            finally:
                _kill_group(process)


def unwatched() -> None:
    """Nothing to watch for, while something is waited for."""


def wait(process: "subprocess.Popen[str]", watch: Callable[[], None] = unwatched) -> int:
    """Wait for the end of a process and return its exit code; handlers of signals run meanwhile.

    Args:
        process: the process.
        watch: called about twice a second; what it raises ends the wait.
    """
    while True:
        watch()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_HEED)


T = TypeVar("T")


def take(source: "queue.SimpleQueue[T]", watch: Callable[[], None] = unwatched) -> T:
    """Wait for the next item of a queue and return it; handlers of signals run meanwhile.

    Args:
        source: the queue.
        watch: called before each item, and about twice a second; what it raises ends the wait.
    """
    while True:
        watch()
        with contextlib.suppress(queue.Empty):
            return source.get(timeout=_HEED)


def _close_and_wait(process: subprocess.Popen[str], grace: float) -> None:
    """Close the pipe, which tells the supervisor to end the command, and wait until it has."""
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace + 5)


def _kill_group(process: subprocess.Popen[str]) -> None:
    """Kill the group of a supervisor that hangs or was killed itself."""
    if process.poll() is None or process.returncode < 0:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def supervise(command: Sequence[str], grace: float) -> int:
    """Run `command` until it ends, stdin is closed or a signal comes; then end what still runs.

    Args:
        command: the program and its arguments.
        grace: seconds between SIGTERM and SIGKILL.

    Returns the exit code, 128 + N if signal N killed the command. Raises OSError if the command
    cannot be started.
    """
    _adopt_orphans()
    signals = _signal_pipe()
    child = os.posix_spawnp(
        command[0],
        list(command),
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        # Python ignores these two signals, and the command would inherit that
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )
    ended: dict[int, int] = {}
    while child not in ended:
        ready, _, _ = select.select([sys.stdin, signals], [], [])
        ended |= _reap()
        # nothing is ever written to stdin: it is readable only once it is closed
        if sys.stdin in ready or set(os.read(signals, 64)).intersection(_STOPPING):
            break
    ended |= _end_others(grace)
    code = ended[child]
    return code if code >= 0 else _BY_SIGNAL - code


def _signal_pipe() -> int:
    """A file descriptor from which each signal to this process is read as one byte, its number."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (*_STOPPING, signal.SIGCHLD):
        # only signals that have a handler are written to the pipe
        signal.signal(number, lambda *_: None)
    return reading


def _adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they can still be found."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap() -> dict[int, int]:
    """The children that have ended, with their exit codes, -N for an end by signal N."""
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended


def _end_others(grace: float) -> dict[int, int]:
    """End every other process of the tree; return the exit codes of those that were children."""
    deadline = time.monotonic() + grace
    asked: set[int] = set()
    ended = _reap()
    while others := _others():
        kill = time.monotonic() > deadline
        for pid in others:
            if kill or pid not in asked:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
        asked.update(others)
        time.sleep(_POLL)
        ended |= _reap()
    return ended


def _others() -> list[int]:
    """The ids of all descendants of this process, and of other members of its process group.

    Parents come before their children. A parent that is told to end after its child has ended may
    be interrupted in its clean-up: DVC then leaves a broken lock file.
    """
    processes = _processes()
    family = [os.getpid()]
    for parent in family:  # the list grows while it is read
        family += [process.pid for process in processes if process.parent == parent]
    group = [process.pid for process in processes if process.group == family[0]]
    return family[1:] + [pid for pid in group if pid not in family]


class _Process(NamedTuple):
    pid: int
    parent: int
    group: int


def _processes() -> list[_Process]:
    """Every process of the system, including dead ones that their parents have not waited for."""
    if not Path("/proc/self/stat").exists():
        return _processes_by_ps()
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # the program's name, in parentheses, may hold spaces and parentheses
            _, _, fields = path.read_text(errors="replace").rpartition(")")
            _, parent, group, *_ = fields.split()
            found.append(_Process(int(path.parent.name), int(parent), int(group)))
    return found


def _processes_by_ps() -> list[_Process]:
    with subprocess.Popen(
        ["ps", "-A", "-o", "pid=,ppid=,pgid="], stdout=subprocess.PIPE, text=True
    ) as ps:
        assert ps.stdout is not None
        found = [_Process(*map(int, line.split())) for line in ps.stdout]
    return [process for process in found if process.pid != ps.pid]


def main() -> int:
    grace, *command = sys.argv[1:]
    try:
        return supervise(command, float(grace))
    except FileNotFoundError:
        print(f"error: no such command: {command[0]}", file=sys.stderr)
        return _NOT_FOUND
    except OSError as error:
        print(f"error: {command[0]} does not start: {error.strerror}", file=sys.stderr)
        return _NOT_EXECUTABLE


if __name__ == "__main__":
    sys.exit(main())
