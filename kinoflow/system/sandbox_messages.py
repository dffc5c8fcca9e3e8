"""What a sandbox process and the process that started it send each other.

For each call the parent sends a `Request` and then, as bytes, the pickled function with its
argument. The sandbox process answers with `BEGUN` once it has unpickled them, and with an
`Answer` when the function has ended.
"""

from typing import Any, Literal, NamedTuple

BEGUN = "begun"
START_S = 60.0  # seconds to start and to import what a call needs


class Request(NamedTuple):
    """How much a call may take."""

    seconds: float
    memory_mb: int  # in addition to what the process uses when idle
    deadline: float | None  # in seconds of `time.monotonic()`, which all processes share


class Answer(NamedTuple):
    """How a call ended."""

    kind: Literal["returned", "raised", "memory"]  # memory: there was not enough
    value: Any  # what the function returned, or the exception that it raised
    reusable: bool  # whether the process may answer another call
