"""The terminal of a command: progress bars, printable text, and quiet dependencies."""

import contextlib
import os
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")

# The first three silence TensorFlow, which reads them at import. The others switch off telemetry
# that is on by default.
_QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "ABSL_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "ERROR",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def printable(text: str) -> str:
    """Escape characters that harm a terminal or break a line: controls and invalid UTF-8."""
    return "".join(
        ascii(character)[1:-1]
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        else character
        for character in text
    )


def quiet() -> None:
    """Switch off telemetry and start-up messages, unless the user's environment says otherwise."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def silenced_stderr() -> Iterator[None]:
    """Drop what is written to stderr in the block, even by native code (TensorFlow at import)."""
    sys.stderr.flush()
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` and show how many are done: a bar on stderr, or lines if that is no terminal.

    Args:
        items: what to go through.
        what: the name of the work.
        total: how many items there are, if they have no length.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    if total is None and isinstance(items, Sized):
        total = len(items)
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from _progress_lines(items, what, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(task)


@contextlib.contextmanager
def byte_progress(what: str, done: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show how much of a file has arrived, on stderr: a bar, or a line per tenth if no terminal.

    Args:
        what: the file's name.
        done: bytes that had arrived before.
        total: bytes of the whole file; None if unknown.

    Yields a function to call with the number of bytes that have just arrived.
    """
    from rich import filesize
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    started, first, shown = time.monotonic(), done, done * 10 // total if total else 0

    def print_line(more: int) -> None:
        nonlocal done, shown
        done += more
        tenth = done * 10 // total if total else 0
        if total and tenth > shown:
            shown = tenth
            speed = (done - first) / max(time.monotonic() - started, 1e-6)
            left = (total - done) / max(speed, 1e-6)
            print(
                f"{what}: {filesize.decimal(done)} of {filesize.decimal(total)}, "
                f"{filesize.decimal(int(speed))}/s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    if not console.is_terminal:
        yield print_line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda more: bar.advance(task, more)


def _progress_lines(items: Iterable[T], what: str, total: int | None) -> Iterator[T]:
    shown = 0
    for done, item in enumerate(items, start=1):
        yield item
        tenth = done * 10 // total if total else 0
        if tenth > shown:
            shown = tenth
            print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)
