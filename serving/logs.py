"""The log of the service: one line per event, whatever a client puts into it."""

import logging
import re
from types import TracebackType
from typing import Any

from serving import measures

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # for tracebacks


class Escaping(logging.Formatter):
    """Writes control characters of a message as escapes: \\n, \\x1b."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 as logging calls it
        record.message = _CONTROL.sub(_escaped, record.message)
        return super().formatMessage(record)

    def formatException(  # noqa: N802
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | Any
    ) -> str:
        return _CONTROL_BUT_LINES.sub(_escaped, super().formatException(ei))


def is_of_others(_record: logging.LogRecord) -> bool:
    """Whether an event is about a request of somebody else than the service itself."""
    return measures.COUNTING.get()


def _escaped(found: "re.Match[str]") -> str:
    return found[0].encode("unicode_escape").decode("ascii")


CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "serving.logs.Escaping",
            "format": "%(asctime)s [%(levelname)s] %(message)s",
            "datefmt": "%Y-%m-%dT%H:%M:%S%z",
        }
    },
    "filters": {"of others": {"()": lambda: is_of_others}},
    "handlers": {
        "stdout": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["of others"],
            "stream": "ext://sys.stdout",
        }
    },
    "loggers": {
        "bentoml": {"level": "INFO"},
        "uvicorn": {"level": "INFO"},
    },
    "root": {"handlers": ["stdout"], "level": "WARNING"},
}
