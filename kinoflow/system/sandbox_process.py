"""Processes for sandboxed calls: the side of the program that starts them."""

import atexit
import os
import queue
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any, ClassVar

from kinoflow.system import sandbox_child
from kinoflow.system.sandbox_messages import START_S, Answer, Request

# seconds past its time after which this program kills a process that its own alarm did not kill
_GRACE_S = 1.0

# With threads in native libraries, a second of the time bound would be several seconds of processor
# time, and each thread takes address space. They would gain nothing: each core already has a
# process.
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1"
)


class ProcessDied(Exception):
    """A sandbox process ended before it answered.

    Args:
        number: the signal that killed the process, SIGALRM if its time was up; 0 if none did.
        begun: whether the process had begun the call.
        while_idle: whether the process was dead, or about to die, when the call was sent.
    """

    def __init__(self, number: int, *, begun: bool, while_idle: bool) -> None:
        self.number = number
        self.begun = begun
        self.while_idle = while_idle


class SandboxProcess:
    """A process that answers one call at a time.

    `living` holds all of these processes, and `idle` those that wait for a call, the most recently
    used on top. `ending` becomes true when this program exits, which ends them all. `niceness` is
    by how much those that are started from now on give way to other processes, as for os.nice.
    """

    idle: ClassVar["queue.LifoQueue[SandboxProcess]"] = queue.LifoQueue()
    living: ClassVar["set[SandboxProcess]"] = set()
    ending: ClassVar[bool] = False
    niceness: ClassVar[int] = 0

    @classmethod
    def take(cls) -> "SandboxProcess":
        """Return a living idle process, or a new one."""
        while True:
            try:
                process = cls.idle.get_nowait()
            except queue.Empty:
                return cls()
            if process.process.poll() is None:
                return process
            process.end()

    def __init__(self) -> None:
        # Pickled functions name their modules, which the process must find in the same places.
        # -P keeps out modules that merely lie in the working folder, beside somebody's videos.
        path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
        self.connection, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", sandbox_child.__name__, str(self.niceness)],
                stdin=theirs.fileno(),
                env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
            )
        self.used = False
        self.living.add(self)

    def call(self, call: bytes, request: Request) -> Answer:
        """Send a pickled call and return its answer; the process is then idle, or ended.

        Raises ProcessDied if the process ends before it answers, or does not answer in time.
        """
        reusable = begun = False
        try:
            self.connection.send(request)
            self.connection.send_bytes(call)
            self._receive(START_S, request.deadline)
            begun = True
            # the process's own alarm kills it on time, unless it is stopped (SIGSTOP)
            answer: Answer = self._receive(request.seconds, request.deadline, grace=_GRACE_S)
            reusable = answer.reusable
        except (OSError, EOFError) as error:
            number = signal.SIGALRM if isinstance(error, TimeoutError) else -self.process.wait()
            raise ProcessDied(
                max(number, 0), begun=begun, while_idle=self.used and not begun
            ) from None
        finally:
            # after any exception, Ctrl-C included, an answer may still be on its way
            if reusable:
                self.used = True
                self.idle.put(self)
            else:
                self.end()
        return answer

    def _receive(self, seconds: float, deadline: float | None, grace: float = 0) -> Any:
        """The next message. Raises TimeoutError if none comes in time."""
        if deadline is not None:
            seconds = min(seconds, deadline - time.monotonic())
        if not self.connection.poll(max(0, seconds) + grace):
            raise TimeoutError
        return self.connection.recv()

    def end(self) -> None:
        """Kill the process and wait for its end."""
        self.process.kill()
        self.process.wait()
        self.connection.close()
        self.living.discard(self)


def end_idle_processes() -> None:
    """End the idle processes of this program; the next call starts a new one."""
    while True:
        try:
            SandboxProcess.idle.get_nowait().end()
        except queue.Empty:
            return


@atexit.register
def _end_all() -> None:
    SandboxProcess.ending = True
    for process in list(SandboxProcess.living):
        process.end()
