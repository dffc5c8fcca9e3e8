"""Keep what people say about answers: this one was wrong, it should be another."""

import contextlib
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, Field

from kinoflow.system import files
from serving.answers import Answer, Said
from serving.refusals import Refusal
from serving.state import Database, Videos, room

MOST_LABEL = 200  # characters of a proposed label
_ANSWERS = 10_000  # the latest answers, which feedback may be about
_FEEDBACK = 100_000  # rows of feedback

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    label TEXT NOT NULL,
    confidence REAL NOT NULL,
    bento TEXT NOT NULL,
    time REAL NOT NULL  -- seconds since 1970, as all times here
);
CREATE TABLE IF NOT EXISTS feedback (
    answer TEXT PRIMARY KEY,  -- its id
    given TEXT NOT NULL,  -- the label that was answered
    proposed TEXT NOT NULL,  -- the label that is said to be right
    confidence REAL NOT NULL,  -- in the label that was answered
    bento TEXT NOT NULL,  -- the version that answered
    time REAL NOT NULL,  -- of the feedback
    footage TEXT,  -- the name of the video in the folder footage/
    bytes INTEGER NOT NULL  -- of the video
);
"""


class Given(BaseModel):
    """Feedback as it is sent."""

    model_config = ConfigDict(extra="forbid", strict=True)

    answer: str = Field(max_length=64, description="The id of an answer")
    label: str = Field(min_length=1, max_length=MOST_LABEL, description="The label that is right")


class Kept(Said):
    """Feedback as it is kept."""

    answer: str
    """Its id."""
    given: str
    """The label that was answered."""
    proposed: str
    """The label that is said to be right."""
    bento: str
    """The version that answered."""
    time: float
    """Seconds since 1970."""
    footage: bool
    """Whether the video is kept."""


class Feedback:
    """Feedback in a SQLite file, with the latest answers that it may be about.

    Args:
        folder: where the file is, and the folder footage/ with videos.
        most_bytes: of all videos together.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._videos = Videos(folder / "footage")
        self.footage = self._videos.folder
        self._most_bytes = most_bytes
        self._database = Database(folder / "feedback.sqlite", _SCHEMA, durable=False)
        self.close = self._database.close
        self._videos.sweep(self._named)

    def _named(self) -> set[str]:
        """The files that feedback has."""
        with self._database.transaction() as rows:
            return {row["footage"] for row in rows.execute("SELECT footage FROM feedback")}

    def answered(self, answer: Answer) -> None:
        """Remember an answer. On a full disk it is forgotten."""
        with contextlib.suppress(Refusal), self._database.transaction() as rows:
            row = (answer.id, answer.label, answer.confidence, answer.model.bento, time.time())
            done = rows.execute(
                "INSERT INTO answers (id, label, confidence, bento, time) VALUES (?, ?, ?, ?, ?)",
                row,
            )
            oldest = (done.lastrowid or 0) - _ANSWERS
            rows.execute("DELETE FROM answers WHERE number <= ?", (oldest,))

    def keep(self, given: Given, video: IO[bytes] | None = None) -> Kept:
        """Keep feedback, instead of earlier feedback about the same answer.

        Args:
            given: what was sent.
            video: the file that was answered, of which a copy is kept.

        Raises Refusal: 404 for an answer that is not known, 507 if there is no room for more.
        """
        with self._database.transaction() as rows:
            self._answer(rows, given)
        with (
            self._videos.adding(),
            self._copied(video) as copy,
            self._database.transaction() as rows,
        ):
            answer = self._answer(rows, given)
            size = copy.stat().st_size if copy else 0
            count, held = rows.execute("SELECT count(*), total(bytes) FROM feedback").fetchone()
            earlier = rows.execute(
                "SELECT * FROM feedback WHERE answer = ?", (given.answer,)
            ).fetchone()
            if earlier:
                count, held = count - 1, held - earlier["bytes"]
            if count >= _FEEDBACK or held + size > self._most_bytes:
                raise Refusal(507, "there is no room for more feedback: tell who runs the service")
            kept = Kept(
                answer=given.answer,
                given=answer["label"],
                proposed=given.label,
                bento=answer["bento"],
                time=time.time(),
                footage=copy is not None,
            )
            rows.execute(
                "INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(kept.answer, kept.given, kept.proposed, answer["confidence"], kept.bento),
                    *(kept.time, copy.name if copy else None, size),
                ),
            )
        if earlier and earlier["footage"]:
            (self.footage / earlier["footage"]).unlink(missing_ok=True)
        return kept

    def _answer(self, rows: sqlite3.Connection, given: Given) -> sqlite3.Row:
        found = rows.execute("SELECT * FROM answers WHERE id = ?", (given.answer,)).fetchone()
        if found is None:
            raise Refusal(
                404, f"there is no such answer, or it is older than the latest {_ANSWERS:,}"
            )
        row: sqlite3.Row = found
        return row

    @contextlib.contextmanager
    def _copied(self, video: IO[bytes] | None) -> Iterator[Path | None]:
        """A copy of the video below footage/, which is deleted after an exception."""
        if video is None:
            yield None
            return
        path = self.footage / secrets.token_hex(16)
        try:
            with room(), files.replacing(path) as partial, partial.open("wb") as file:
                shutil.copyfileobj(video, file)
            yield path
        except BaseException:
            path.unlink(missing_ok=True)
            raise
