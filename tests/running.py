"""Commands that run beside a test: what they print, which processes they have, how they end."""

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

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


def large_libraries_of(stage: str, *arguments: str) -> set[str]:
    """Which libraries that take seconds to import a stage imports in the working folder."""
    code = (
        f"import runpy, sys; sys.argv = {[stage, *arguments]}\n"
        f"try: runpy.run_module('stages.{stage}', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "print(*({'tensorflow', 'keras', 'pandas', 'sklearn'} & {*sys.modules}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    return {*ran.stdout.splitlines()[-1].split()}


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
