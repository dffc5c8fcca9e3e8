"""A command on a leash: when its owner dies, however it dies, its whole process tree ends.

A process that is killed outright cleans nothing up, so somebody else must. `leashed` runs the
command below a small supervisor, this file run as a script, which holds the reading end of a
pipe. The owner alone holds the writing end, and the system closes it when the owner is gone:
the supervisor then ends the command, its children, and theirs.

The supervisor leads a new session. Ctrl-C in the terminal thus reaches the owner alone, which
lets go of the command in its own time.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

GRACE = 10.0  # seconds between asking a process to end and killing it

_PR_SET_CHILD_SUBREAPER = 36
_POLL = 0.05
# as shells report them
_NOT_EXECUTABLE = 126
_NOT_FOUND = 127
_BY_SIGNAL = 128


@contextlib.contextmanager
def leashed(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: int | IO[str] | None = None,
    stderr: int | IO[str] | None = None,
    grace: float = GRACE,
) -> Iterator[subprocess.Popen[str]]:
    """Run `command` with no input; leaving the block, or dying in it, ends its whole tree.

    What is still running gets SIGTERM and, `grace` seconds later, SIGKILL. The Popen is the
    supervisor's, whose exit code is the command's: 128 + N where signal N ended it, 127 where
    there is no such command. Out of reach is, except on Linux, what has moved to a session of
    its own and lost its parent.
    """
    # -I and -S: nothing but the standard library, whatever the working folder holds
    supervisor = [sys.executable, "-I", "-S", __file__, str(grace), *command]
    process = subprocess.Popen(
        supervisor,
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
    """The last resort, for a supervisor that hangs or was itself killed."""
    # no other group can have this number: while the group has members the system keeps it
    # from being used again
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def supervise(command: Sequence[str], grace: float) -> int:
    """Run `command` until it ends, stdin closes or a signal says so; then end what is left.

    Returns the exit code, 128 + N for an end by signal N.
    """
    _adopt_orphans()
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    stopping = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    for number in (*stopping, signal.SIGCHLD):
        # a signal writes its number to `wake` only where it has a handler
        signal.signal(number, lambda *_: None)
    child = os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        # ignored by Python itself, and an ignored signal stays ignored in a new program
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )

    code = None
    while code is None:
        ready, _, _ = select.select([0, woken], [], [])
        code = _reap().get(child)
        # nobody writes to stdin: if it can be read, it has been closed
        if 0 in ready or stopping.intersection(_read(woken)):
            break
    ended = _end(_others, grace)
    code = ended.get(child) if code is None else code
    return _BY_SIGNAL + signal.SIGKILL if code is None else code
