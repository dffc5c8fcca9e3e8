"""Commands that run beside a test: what they print, which processes they have, how they end."""

import contextlib
import logging
import subprocess
import time
from collections.abc import Callable, Iterator

import psutil  # type: ignore[import-untyped]

PATIENCE = 60  # seconds; a server that has just started answers slowly on a busy machine


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def survivors(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still live when the time is up."""
    deadline = time.monotonic() + seconds
    living = processes
    while living and time.monotonic() < deadline:
        time.sleep(0.1)
        living = [p for p in living if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    return living


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """The output up to a line with the text; it must come."""
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if text in line:
            return output
    raise AssertionError(f"ended without {text!r}:\n{output}")


@contextlib.contextmanager
def listening(
    logger: str, hear: Callable[[str], None] = lambda message: None
) -> Iterator[list[str]]:
    """The messages that the logger is given within the block, handed to `hear` at once."""
    messages = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())
            hear(record.getMessage())

    listener = Listener()
    logging.getLogger(logger).addHandler(listener)
    try:
        yield messages
    finally:
        logging.getLogger(logger).removeHandler(listener)
