"""The processes that kinoflow.system.sandbox starts, as the system sees them."""

import os
import time

import psutil  # type: ignore[import-untyped]


def decoders(pid: int | None = None) -> list[psutil.Process]:
    """Those of this process, or of another; its other children are none of them."""
    found = []
    for child in psutil.Process(pid or os.getpid()).children():
        try:
            if "kinoflow.system.sandbox_child" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue  # it has just ended
    return found


def nothing_runs() -> bool:
    """Whether none of this process's uses the processor; one that ends meanwhile uses none."""
    before = {child: _seconds(child) for child in decoders()}
    time.sleep(0.3)
    return all(_seconds(child) in (None, seconds) for child, seconds in before.items())


def _seconds(process: psutil.Process) -> float | None:
    """How long it has used the processor; None if it has ended."""
    try:
        return float(sum(process.cpu_times()[:2]))
    except psutil.NoSuchProcess:
        return None
