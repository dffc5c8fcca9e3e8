"""What people said about the service's answers, read from its state while it runs or not.

The service writes it (serving/feedback.py). This module only reads.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kinoflow.system.errors import UserError

FILE = "feedback.sqlite"  # in the folder of the service's state
FOOTAGE = "footage"  # the folder beside it with the videos


@dataclass(frozen=True)
class Correction:
    """An answer that somebody said was wrong."""

    answer: str  # its id
    given: str  # the label that was answered
    proposed: str  # the label that is said to be right
    confidence: float  # in the label that was answered
    bento: str  # the version that answered
    time: float  # of the feedback, seconds since 1970
    footage: Path | None  # the video, if it was kept and is still there


@dataclass(frozen=True)
class ErrorRate:
    """How many of the newest answers were marked as wrong.

    People mark mostly answers that are wrong, and they mark few of those. So marks per feedback
    would say nothing. This is marks per answer: a rate that the true error rate does not lie below
    by more than chance. An answer that nobody said anything about counts as right.
    """

    answers: int
    wrong: int  # of these answers: those for which another label was proposed
    confidence: float  # of the interval, such as 0.95
    low: float  # of the Clopper-Pearson interval
    high: float

    @property
    def rate(self) -> float:
        return self.wrong / self.answers

    def exceeds(self, limit: float) -> bool:
        """Whether the whole interval lies above a limit, such as `monitor.max_error`."""
        return self.low > limit

    def __str__(self) -> str:
        return (
            f"{self.wrong} of the newest {self.answers} answers were marked as wrong: "
            f"{self.rate:.1%} ({self.confidence:.0%} interval {self.low:.1%} to {self.high:.1%})"
        )


def folder(root: Path, setting: str) -> Path:
    """The folder of the service's state, as the service itself finds it.

    Args:
        root: the folder in which the service is started.
        setting: `serving.state` of params.yaml. The environment variable KINOFLOW_STATE goes first.
    """
    return root / (os.environ.get("KINOFLOW_STATE") or setting)


def corrections(state: Path) -> list[Correction]:
    """All answers for which another label was proposed, the oldest feedback first.

    Args:
        state: the folder of the service's state. Without one there are no corrections.

    Raises UserError for a file that is no database of feedback.
    """
    with _reading(state) as rows:
        found = rows.execute(
            "SELECT * FROM feedback WHERE proposed != given ORDER BY time, answer"
        ).fetchall()
    videos = state / FOOTAGE
    return [
        Correction(
            answer=row["answer"],
            given=row["given"],
            proposed=row["proposed"],
            confidence=row["confidence"],
            bento=row["bento"],
            time=row["time"],
            footage=path if (path := videos / (row["footage"] or "")).is_file() else None,
        )
        for row in found
    ]


def error_rate(
    state: Path, newest: int, bento: str | None = None, confidence: float = 0.95
) -> ErrorRate | None:
    """How many of the newest answers were marked as wrong; None if there is no answer.

    Args:
        state: the folder of the service's state.
        newest: how many answers to look at. The service keeps the latest 10,000.
        bento: the version whose answers are looked at; None: all. After a new champion, the answers
            of the one before it say nothing about it.
        confidence: of the interval (Clopper and Pearson, 1934).

    Raises UserError for a file that is no database of feedback.
    """
    with _reading(state) as rows:
        answers, wrong = rows.execute(
            "SELECT count(*), count(feedback.answer) FROM ("
            "  SELECT id FROM answers WHERE bento = ? OR ? IS NULL ORDER BY number DESC LIMIT ?"
            ") LEFT JOIN feedback ON feedback.answer = id AND feedback.proposed != feedback.given",
            (bento, bento, newest),
        ).fetchone()
    if not answers:
        return None
    from scipy.stats import binomtest

    interval = binomtest(wrong, answers).proportion_ci(confidence, method="exact")
    return ErrorRate(answers, wrong, confidence, float(interval.low), float(interval.high))


@contextlib.contextmanager
def _reading(state: Path) -> Iterator[sqlite3.Connection]:
    """The database of feedback, to read; an empty one if the service has not made any yet."""
    path = state / FILE
    try:
        if path.is_file():
            # rw, since readers of a database in WAL mode share a file with its writers; the pragma
            # keeps this connection from changing anything
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
            connection.execute("PRAGMA query_only = ON")
        else:
            connection = sqlite3.connect(":memory:")
            connection.executescript(
                "CREATE TABLE answers (number, id, bento);"
                "CREATE TABLE feedback (answer, given, proposed, confidence, bento, time, footage)"
            )
        connection.row_factory = sqlite3.Row
        with contextlib.closing(connection):
            yield connection
    except sqlite3.Error as error:
        raise UserError(f"{path} cannot be read as the service's feedback: {error}") from None
