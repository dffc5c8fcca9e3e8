"""What the supervisor and its workers tell each other, over their environment and a pipe.

The supervisor may be of another version of kinoflow than a worker, which runs the code in its
Bento. So what is here stays as it is.
"""

import os
from pathlib import Path

STATUS = "KINOFLOW_STATUS"  # the descriptor of the pipe to which a worker writes how it fares
REFUSED = "KINOFLOW_REFUSED"  # a file that says why a newer Bento is not served, if one is not
STARTUP_FAILURE = 3  # exit code of a worker that cannot start, and of the service then
READY = "ready"  # a line: the worker answers requests
FAILED = "failed: "  # how a line begins that says why it does not


def is_supervised() -> bool:
    """Whether this process is a worker of the supervisor."""
    return STATUS in os.environ


def tell(line: str) -> None:
    """Write a line to the supervisor, if there is one."""
    if is_supervised():
        os.write(int(os.environ[STATUS]), f"{' '.join(line.split())}\n".encode()[-4096:])


def refused() -> str | None:
    """Why a newer Bento is not served; None if there is none."""
    try:
        return Path(os.environ[REFUSED]).read_text(encoding="utf-8")
    except (KeyError, FileNotFoundError):
        return None
