"""Jobs in a SQLite file, and their videos on disk: what was accepted outlives the service."""

import contextlib
import json
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import BaseModel

from kinoflow.system import files
from serving import measures
from serving.answers import Said, Timeline
from serving.refusals import Refusal
from serving.state import Database, Videos, room, turn

State = Literal["queued", "running", "done", "failed", "cancelled"]

_ATTEMPTS = 3  # of a job during which the service was killed
_FINISHED = 1000  # jobs that are kept after their end
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    seconds REAL NOT NULL,  -- of a window
    bytes INTEGER NOT NULL,  -- of the video
    attempts INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,  -- seconds since 1970
    started REAL,
    finished REAL,  -- set in the states done, failed and cancelled
    bento TEXT,  -- the version that answered
    result TEXT,  -- JSON
    error TEXT
);
CREATE INDEX IF NOT EXISTS ends ON jobs (finished, number);
"""


class Job(Said):
    """A long video and what becomes of it."""

    id: str
    state: State
    progress: float
    """From 0 to 1."""
    created: float
    """Seconds since 1970."""
    started: float | None = None
    finished: float | None = None
    bento: str | None = None
    """The version that answered."""
    error: str | None = None
    """Why it failed."""
    result: Timeline | None = None
    """Once it is done."""


class JobList(Said):
    """The newest jobs."""

    jobs: list[Job]
    """The newest first, without their results."""


class Claim(BaseModel):
    """A job to work on."""

    id: str
    seconds: float  # of a window


class Jobs:
    """The jobs. A method may be called by any thread.

    Args:
        folder: where the SQLite file is, and the folder uploads/ with videos.
        most: jobs that may wait or run.
        most_bytes: of their videos together, and of all results together.
        keep_s: seconds for which a job is kept after its end.
    """

    def __init__(self, folder: Path, *, most: int, most_bytes: int, keep_s: float) -> None:
        self._folder = folder
        self._videos = Videos(folder / "uploads")
        self._most, self._most_bytes, self._keep_s = most, most_bytes, keep_s
        self._database = Database(folder / "jobs.sqlite", _SCHEMA, durable=True)
        self.close = self._database.close

    def turn(self, given_up: Callable[[], bool]) -> contextlib.AbstractContextManager[bool]:
        """Wait until no other process works on jobs; see `state.turn`."""
        return turn(self._folder / "working", given_up)

    def take_up(self) -> None:
        """Have jobs that a killed service was working on begin again.

        Only the process whose turn it is to work on jobs may call this.
        """
        with self._database.transaction() as rows:
            rows.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")
        self._videos.sweep(self._waiting)

    def _waiting(self) -> set[str]:
        """The ids of jobs whose videos are needed."""
        with self._database.transaction() as rows:
            waiting = rows.execute("SELECT id FROM jobs WHERE finished IS NULL").fetchall()
        return {row["id"] for row in waiting}

    def video(self, name: str) -> Path:
        """The file of a job's video."""
        return self._videos.folder / name

    def check_room(self, size: int = 0) -> None:
        """Raise Refusal if no job with a video of `size` bytes can be taken: 413, 429 or 503."""
        with self._database.transaction() as rows:
            self._check_room(rows, size)

    def _check_room(self, rows: sqlite3.Connection, size: int) -> None:
        if size > self._most_bytes:
            raise Refusal(413, f"the video is larger than {self._most_bytes} bytes, the limit here")
        query = "SELECT count(*), total(bytes) FROM jobs WHERE finished IS NULL"
        count, held = rows.execute(query).fetchone()
        if count >= self._most:
            raise Refusal(429, f"{count} jobs are waiting already: try again when one has ended")
        if held + size > self._most_bytes:
            raise Refusal(503, "the videos of other jobs take all the room: try again later")

    def accept(
        self, video: IO[bytes], seconds: float, check: Callable[[Path], None] | None = None
    ) -> Job:
        """Take a job: from now on it is not lost.

        Args:
            video: its file.
            seconds: how long a window is.
            check: raises Refusal for a file that will have no answer.

        Raises Refusal as `check_room` and `check` do, and 507 if the disk is full.
        """
        name = secrets.token_hex(16)
        path = self.video(name)
        with self._videos.adding():
            try:
                # on the disk before the job is
                with room(), files.replacing(path) as partial, partial.open("wb") as file:
                    shutil.copyfileobj(video, file)
                if check:
                    check(path)
                size = path.stat().st_size
                with self._database.transaction() as rows:
                    self._check_room(rows, size)
                    rows.execute(
                        "INSERT INTO jobs (id, state, seconds, bytes, created) "
                        "VALUES (?, 'queued', ?, ?, ?)",
                        (name, seconds, size, time.time()),
                    )
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return self.get(name)

    def get(self, name: str) -> Job:
        """The job with this id; its progress is not known here. Raises Refusal (404)."""
        with self._database.transaction() as rows:
            return _job(_row(rows, name))

    def newest(self, most: int) -> list[Job]:
        """The newest jobs, at most `most`, the newest first; without their results."""
        with self._database.transaction() as rows:
            found = rows.execute(
                "SELECT id, state, created, started, finished, bento, NULL AS result, error "
                "FROM jobs ORDER BY number DESC LIMIT ?",
                (most,),
            ).fetchall()
        return [_job(row) for row in found]

    def is_running(self, name: str) -> bool:
        """Whether the job runs, and has not been cancelled."""
        query = "SELECT count(*) FROM jobs WHERE id = ? AND state = 'running'"
        with self._database.transaction() as rows:
            return bool(rows.execute(query, (name,)).fetchone()[0])

    def claim(self) -> Claim | None:
        """The next job to work on, which runs from now on; None if none waits."""
        while True:
            with self._database.transaction() as rows:
                row = rows.execute(
                    # one that seems to run does not: its end could not be written
                    "SELECT * FROM jobs WHERE finished IS NULL ORDER BY number LIMIT 1"
                ).fetchone()
                if row is None:
                    return None
                if row["attempts"] < _ATTEMPTS and self.video(row["id"]).exists():
                    rows.execute(
                        "UPDATE jobs SET state = 'running', started = ?, attempts = attempts + 1 "
                        "WHERE number = ?",
                        (time.time(), row["number"]),
                    )
                    return Claim(id=row["id"], seconds=row["seconds"])
                lost = "its video is no longer on the disk"
                died = f"the service died {_ATTEMPTS} times while it worked on this video"
                error = died if row["attempts"] >= _ATTEMPTS else lost
                _end(rows, row["id"], "failed", error=error)
            self.video(row["id"]).unlink(missing_ok=True)

    def put_back(self, name: str) -> None:
        """Have a running job begin again, since the service ends."""
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE jobs SET state = 'queued', attempts = attempts - 1 "
                "WHERE id = ? AND state = 'running'",
                (name,),
            )

    def finish(self, name: str, result: dict[str, Any], bento: str) -> None:
        """Keep the result of a running job; that of a cancelled one is dropped."""
        self._end(name, "done", result=json.dumps(result), bento=bento)

    def fail(self, name: str, error: str) -> None:
        """Say why a running job has no result."""
        self._end(name, "failed", error=error)

    def _end(self, name: str, state: State, **values: Any) -> None:
        with self._database.transaction() as rows:
            _end(rows, name, state, **values)
        self.video(name).unlink(missing_ok=True)
        self.sweep()

    def cancel(self, name: str) -> Job:
        """Cancel a job that waits or runs; forget one that has ended. Raises Refusal (404)."""
        with self._database.transaction() as rows:
            before = _row(rows, name)
            if before["finished"] is None:
                _end(rows, name, "cancelled")
                job = _job(_row(rows, name))
            else:
                rows.execute("DELETE FROM jobs WHERE id = ?", (name,))
                job = _job(before)
        self.video(name).unlink(missing_ok=True)
        return job

    def sweep(self) -> None:
        """Forget jobs that ended long ago, and the oldest if too much is kept."""
        with self._database.transaction() as rows:
            rows.execute("DELETE FROM jobs WHERE finished < ?", (time.time() - self._keep_s,))
            held = 0
            newest = rows.execute(
                "SELECT number, length(result) AS size FROM jobs WHERE finished NOT NULL "
                "ORDER BY finished DESC, number DESC"
            ).fetchall()
            for place, row in enumerate(newest):
                held += row["size"] or 0
                # the newest stays whatever its size, or it could never be read
                if place and (place >= _FINISHED or held > self._most_bytes):
                    rows.execute("DELETE FROM jobs WHERE number = ?", (row["number"],))


def _row(rows: sqlite3.Connection, name: str) -> sqlite3.Row:
    row: sqlite3.Row | None = rows.execute("SELECT * FROM jobs WHERE id = ?", (name,)).fetchone()
    if row is None:
        raise Refusal(404, "there is no such job, or it ended long ago")
    return row


def _end(
    rows: sqlite3.Connection,
    name: str,
    state: State,
    *,
    result: str | None = None,
    bento: str | None = None,
    error: str | None = None,
) -> None:
    done = rows.execute(
        "UPDATE jobs SET state = ?, finished = ?, result = ?, bento = ?, error = ? "
        "WHERE id = ? AND finished IS NULL",
        (state, time.time(), result, bento, error, name),
    )
    if done.rowcount:
        measures.ended(state)


def _job(row: sqlite3.Row) -> Job:
    values = {name: row[name] for name in Job.model_fields if name in row.keys()}  # noqa: SIM118
    result = row["result"] and json.loads(row["result"])
    return Job.model_validate(
        values | {"result": result, "progress": float(row["state"] == "done")}
    )
