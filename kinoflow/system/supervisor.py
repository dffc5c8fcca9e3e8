"""A command on a leash: when its owner dies, however it dies, its whole process tree ends.

A process that is killed outright cleans nothing up, so somebody else must. `supervised` runs the
command below a small supervisor, this file run as a script, which holds the reading end of a
pipe. The owner alone holds the writing end, and the system closes that when the owner is gone:
the supervisor then ends the command, its children, and theirs.

The supervisor leads a session of its own. Ctrl-C in the terminal thus reaches the owner alone,
which lets go of the command in its own time.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

GRACE = 10.0  # seconds between asking a process to end and killing it

_POLL = 0.05
_PR_SET_CHILD_SUBREAPER = 36
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# exit codes, as shells give them
_NOT_EXECUTABLE = 126
_NOT_FOUND = 127
_BY_SIGNAL = 128


@contextlib.contextmanager
def supervised(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: int | IO[str] | None = None,
    stderr: int | IO[str] | None = None,
    grace: float = GRACE,
) -> Iterator[subprocess.Popen[str]]:
    """Run `command` without input; leaving the block, or dying in it, ends its whole tree.

    What still runs then gets SIGTERM and, `grace` seconds later, SIGKILL. So does what the
    command leaves behind when it ends by itself. The Popen is the supervisor's; its exit code
    is the command's, or 128 + N if signal N ended that, or 127 if there is no such command.

    Out of reach is a process that moved to a session of its own and lost its parent, on any
    system but Linux.
    """
    # -I -S: the standard library alone, whatever the working folder or the environment holds
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
                _let_go(process, grace)
            finally:
                _kill_group(process)


def _let_go(process: subprocess.Popen[str], grace: float) -> None:
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace + 5)


def _kill_group(process: subprocess.Popen[str]) -> None:
    """The last resort, for a supervisor that hangs or was killed itself."""
    if process.poll() is None or process.returncode < 0:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def supervise(command: Sequence[str], grace: float) -> int:
    """Run `command` until it ends, stdin is closed or a signal says so; then end what is left.

    Returns the exit code. Raises OSError if the command cannot be started.
    """
    _adopt_orphans()
    woken = _signals()
    child = os.posix_spawnp(
        command[0],
        list(command),
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        # Python ignores these, and what is ignored stays so in a new program
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )
    ended: dict[int, int] = {}
    while child not in ended:
        ready, _, _ = select.select([sys.stdin, woken], [], [])
        ended |= _reap()
        # nothing is ever written to stdin: it is ready once it is closed
        if sys.stdin in ready or set(os.read(woken, 64)).intersection(_STOPPING):
            break
    ended |= _end_the_rest(grace)
    code = ended[child]
    return code if code >= 0 else _BY_SIGNAL - code


def _signals() -> int:
    """Where from now on every signal of interest can be read as a byte, its number."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (*_STOPPING, signal.SIGCHLD):
        # only a signal with a handler is written
        signal.signal(number, lambda *_: None)
    return woken


def _adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs, so that none of them gets lost."""
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


def _end_the_rest(grace: float) -> dict[int, int]:
    """End every other process of the tree; return the exit codes of those that were children."""
    deadline = time.monotonic() + grace
    asked: set[int] = set()
    ended = _reap()
    while rest := _rest():
        too_late = time.monotonic() > deadline
        for pid in rest:
            if too_late or pid not in asked:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL if too_late else signal.SIGTERM)
        asked.update(rest)
        time.sleep(_POLL)
        ended |= _reap()
    return ended


def _rest() -> list[int]:
    """All descendants of this process, and whoever else is in the group that it leads.

    Parents come before their children: one that learns of a child's end while it is about to
    end itself may stop halfway through what it does about it. DVC leaves a broken file of locks.
    """
    processes = _processes()
    family = [os.getpid()]
    for parent in family:  # which grows meanwhile
        family += [process.pid for process in processes if process.parent == parent]
    group = [process.pid for process in processes if process.group == family[0]]
    return family[1:] + [pid for pid in group if pid not in family]


class _Process(NamedTuple):
    pid: int
    parent: int
    group: int


def _processes() -> list[_Process]:
    """Every process of the system, dead ones that nobody has reaped included."""
    if not Path("/proc/self/stat").exists():
        return _processes_of_ps()
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # the name, in parentheses, may hold anything
            _, _, fields = path.read_text(errors="replace").rpartition(")")
            _, parent, group, *_ = fields.split()
            found.append(_Process(int(path.parent.name), int(parent), int(group)))
    return found


def _processes_of_ps() -> list[_Process]:
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
