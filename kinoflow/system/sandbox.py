"""Run a function in another process, where it may hang, crash or eat memory without harm.

Video decoders are native code, and damaged or hostile files can crash them. Each call has a bound
on time and a bound on memory. The kernel enforces both: an alarm kills the process whatever it
does, and its address space is limited. A process answers one call after another, because starting
a process takes longer than decoding a clip; a process whose memory has grown is not used again.
No more calls run at the same time than the machine has cores and memory for.
"""

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kinoflow.system.fair_semaphore import FairSemaphore
from kinoflow.system.sandbox_messages import START_S, Answer, Request
from kinoflow.system.sandbox_process import ProcessDied, SandboxProcess

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_USABLE_MEMORY = 3 / 4  # the share of the machine's memory that all calls may take together

_semaphore = FairSemaphore()


class OutOfBoundsError(Exception):
    """A call took too long or too much memory, or killed its process; the text says which."""


class LateError(OutOfBoundsError):
    """The caller's deadline passed before the call ended, perhaps because others came first.

    Args:
        text: what happened, in one line.
        begun: whether the call had begun.
        waited: seconds that the call waited for its turn.
    """

    def __init__(self, text: str, *, begun: bool, waited: float) -> None:
        super().__init__(text)
        self.begun = begun
        self.waited = waited


@dataclass(frozen=True)
class Bounds:
    """How much one call may take, and how many calls run at the same time."""

    seconds: float
    memory_mb: int  # in addition to what the process uses when idle; enforced only on Linux
    concurrency: int = 0  # calls of this process at the same time; 0: `default_concurrency`

    @property
    def max_calls(self) -> int:
        """How many calls of this process may run at the same time."""
        return self.concurrency or default_concurrency(self.memory_mb)


def run_sandboxed(
    function: Callable[[Argument], Result],
    argument: Argument,
    bounds: Bounds,
    *,
    deadline: float | None = None,
) -> Result:
    """Return `function(argument)`, computed in another process.

    Several threads may call this. Calls beyond `bounds.max_calls` wait, first come first served.

    A process that dies within its bounds gets a second chance, since its death may have nothing
    to do with the call: the kernel's out-of-memory killer takes any process. A death before the
    function was called does not count.

    Args:
        function: what to call. It is pickled, and so are its argument and its result.
        argument: its only argument.
        bounds: how much the call may take, and how many calls may run at the same time.
        deadline: when to stop waiting and computing, in seconds of `time.monotonic()`; None:
            never.

    Raises OutOfBoundsError if the call exceeds its bounds or its process dies, LateError if the
    deadline passes, and whatever `function` raises.
    """
    import cloudpickle

    call = cloudpickle.dumps((function, argument))
    came = time.monotonic()
    if not _semaphore.acquire(bounds.max_calls, deadline):
        waited = time.monotonic() - came
        text = f"it waited {waited:.1f} s for its turn, until its time was up"
        raise LateError(text, begun=False, waited=waited)
    begun = time.monotonic()
    try:
        answer = _call(call, Request(bounds.seconds, bounds.memory_mb, deadline))
    except ProcessDied as death:
        if deadline is not None and time.monotonic() >= deadline:
            text = (
                f"it waited {begun - came:.1f} s for its turn, and the {deadline - begun:.1f} s "
                "left were not enough"
            )
            raise LateError(text, begun=True, waited=begun - came) from None
        raise OutOfBoundsError(_explain(death, bounds)) from None
    finally:
        _semaphore.release()
    if answer.kind == "raised":
        raise answer.value
    if answer.kind == "memory":
        raise OutOfBoundsError(f"it takes more than {bounds.memory_mb} MB of memory")
    result: Any = answer.value
    return result


def default_concurrency(memory_mb: int) -> int:
    """How many calls of `memory_mb` each this machine can run at the same time.

    At most one per core and as many as fit into three quarters of its memory, but at least one.
    """
    return max(1, min(cores(), int(_USABLE_MEMORY * _memory() / (memory_mb * 2**20))))


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _memory() -> int:
    """Bytes of memory of this machine, or of the container that this process runs in."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        # the file is missing outside of control groups, and says "max" where there is no limit
        with contextlib.suppress(OSError, ValueError):
            sizes.append(int((Path("/sys/fs/cgroup") / limit).read_text(encoding="ascii")))
    return min(sizes)


def _call(call: bytes, request: Request) -> Answer:
    """Run a call in a process, and once more in another if the first dies for no known reason.

    Raises ProcessDied if the last process dies as well.
    """
    deaths = 0
    while True:
        try:
            return SandboxProcess.take().call(call, request)
        except ProcessDied as death:
            if request.deadline is not None and time.monotonic() >= request.deadline:
                raise
            if death.while_idle:
                continue
            deaths += 1
            if death.number == signal.SIGALRM or deaths == 2 or SandboxProcess.ending:
                raise


def _explain(death: ProcessDied, bounds: Bounds) -> str:
    if death.number == signal.SIGALRM:
        if death.begun:
            return f"it took longer than {bounds.seconds:g} s"
        return f"the process that reads it did not start within {START_S:g} s"
    name = signal.Signals(death.number).name if death.number else "it left"
    return f"it crashes the process that reads it ({name})"
