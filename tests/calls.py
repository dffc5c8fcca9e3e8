"""What tests have other processes do; few imports, since each process repeats them."""

import os
import signal
import time
from pathlib import Path

import numpy as np


def kill_self(number: int) -> None:
    os.kill(os.getpid(), number)


def kill_first_time(flag: Path) -> str:
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def slow_pid(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def allocate(megabytes: int) -> int:
    return len(np.ones(megabytes * 2**20, np.uint8))


def kept(megabytes: int) -> int:
    """Allocate what is never freed, as a leak in a library does."""
    LEAKS.append(np.ones(megabytes * 2**20, np.uint8))
    return os.getpid()


LEAKS: list[np.ndarray] = []


class OddError(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def raise_odd(text: str) -> None:
    raise OddError(text, "which makes it impossible to pickle")


def fragile(number: int) -> str:
    if number == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 4:
        time.sleep(60)
    return f"{number} is fine"


def busy(seconds: float) -> tuple[float, float]:
    """From when to when this was computing."""
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        pass
    return begun, time.monotonic()
