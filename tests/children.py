"""The processes that kinoflow.system.sandbox starts, as the system sees them."""

import os

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
