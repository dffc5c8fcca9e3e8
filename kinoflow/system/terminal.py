"""What every command line shares: progress, text fit for a terminal, quiet dependencies."""

import contextlib
import os
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")

# TensorFlow reads the first three before any Python setting could reach it; the rest switch
# off telemetry that is on by default.
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
    """A text for one line of a terminal: control characters, and what is no UTF-8, as escapes."""
    return "".join(
        ascii(character)[1:-1]
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        else character
        for character in text
    )


def quiet() -> None:
    """Telemetry off and start-up chatter away, unless the user's environment says otherwise."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def silenced_stderr() -> Iterator[None]:
    """Drop what native code writes to stderr meanwhile (TensorFlow logs before it can be told)."""
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
    """Yield from `items` under a progress bar, on stderr; plain lines where it is no terminal."""
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
def transfer(what: str, done: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show bytes on their way, with speed and time left; yields what to call with each number.

    `done` bytes are there already. Plain lines, one each tenth, where stderr is no terminal.
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

    def line(more: int) -> None:
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
        yield line
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
