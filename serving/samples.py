"""Keep what monitoring needs of the latest answers: numbers, and footage only if that is wanted.

It is measured and written behind the answers, by a thread of its own. If more comes than that
thread can take, answers are left out, and counted in /metrics: no request waits for it.
"""

import contextlib
import logging
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from kinoflow.monitor import inputs, samples
from kinoflow.monitor.features import Features
from kinoflow.monitor.inputs import Header
from kinoflow.video.spec import Frames
from serving import measures
from serving.answers import Answer
from serving.refusals import Refusal
from serving.state import Database, Videos, room

_WAITING = 64  # answers
_WAITING_BYTES = 64_000_000  # of their clips
_FOOTAGE_EVERY = 10  # answers, of one of which the video is kept
_FOOTAGE_PART = 20  # a video may take this part of the room for all of them
_END_WITHIN_S = 5.0

_log = logging.getLogger("bentoml.kinoflow")


@dataclass(frozen=True)
class Seen:
    """What the model was given for an answer, and what it made of it."""

    clip: Frames  # uint8 RGB (T, H, W, 3)
    features: Features  # (F,)
    header: Header
    video: Path | None = None  # the upload; None for a clip that came as an array


@dataclass(frozen=True)
class _Waiting:
    answer: Answer
    seen: Seen
    time: float
    footage: Path | None
    adding: contextlib.ExitStack  # keeps a sweep from the footage until a row names it


class Samples:
    """The latest answers in a SQLite file.

    Args:
        folder: where the file is, and the folder with videos.
        most: answers; 0: none are kept.
        most_bytes: of all videos together; 0: none are kept.
    """

    def __init__(self, folder: Path, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._videos = Videos(folder / samples.FOOTAGE)
        self._database = Database(folder / samples.FILE, samples.SCHEMA, durable=False)
        self._trim()
        self._videos.sweep(self._named)
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._ending = False
        self._turn = secrets.randbelow(_FOOTAGE_EVERY)
        self._thread = threading.Thread(target=self._work, name="samples", daemon=True)
        self._thread.start()

    def take(self, answer: Answer, seen: Seen) -> None:
        """Keep an answer soon, unless too many wait. Returns at once."""
        if not self._most:
            return
        with self._changed:
            held = sum(each.seen.clip.nbytes for each in self._waiting)
            full = len(self._waiting) >= _WAITING or held + seen.clip.nbytes > _WAITING_BYTES
            # a single clip is taken however large it is
            if self._ending or (full and self._waiting):
                measures.sampled("left out")
                return
            self._turn = (self._turn + 1) % _FOOTAGE_EVERY
            wanted = not self._turn and self._most_bytes > 0
        with contextlib.ExitStack() as adding:
            footage = self._copied(seen.video, adding) if wanted and seen.video else None
            waiting = _Waiting(answer, seen, time.time(), footage, adding.pop_all())
        with self._changed:
            self._waiting.append(waiting)
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, and end."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(_END_WITHIN_S)
        self._database.close()

    def _copied(self, video: Path, adding: contextlib.ExitStack) -> Path | None:
        """A copy of a video that the request deletes; None if it is large, or the disk is full."""
        if video.stat().st_size * _FOOTAGE_PART > self._most_bytes:
            return None
        adding.enter_context(self._videos.adding())
        path = self._videos.folder / secrets.token_hex(16)
        try:
            with room():
                try:
                    os.link(video, path)
                except OSError:  # of another file system
                    shutil.copyfile(video, path)
        except (Refusal, OSError):
            path.unlink(missing_ok=True)
            return None
        return path

    def _work(self) -> None:
        while waiting := self._next():
            with contextlib.ExitStack() as adding:
                for each in waiting:
                    adding.push(each.adding)
                try:
                    self._write(waiting)
                    measures.sampled("kept", len(waiting))
                except Exception as error:  # noqa: BLE001 monitoring must not end the service
                    measures.sampled("left out", len(waiting))
                    if not isinstance(error, Refusal):  # that is a full disk
                        _log.exception("answers were not kept for monitoring")

    def _next(self) -> list[_Waiting]:
        """What waits; nothing once there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ending)
            waiting = [*self._waiting]
            self._waiting.clear()
            return waiting

    def _write(self, waiting: list[_Waiting]) -> None:
        rows = [_row(each) for each in waiting]
        with self._database.transaction() as database:
            marks = ", ".join("?" * len(rows[0]))
            # NULL: the number is the next one
            database.executemany(f"INSERT INTO samples VALUES (NULL, {marks})", rows)  # noqa: S608
        self._trim()

    def _trim(self) -> None:
        """Delete all but the latest answers, and the oldest videos that there is no room for."""
        with self._database.transaction() as database:
            last = database.execute("SELECT max(number) FROM samples").fetchone()[0] or 0
            oldest = (last - self._most,)
            gone = _footage(database, "number <= ?", oldest)
            database.execute("DELETE FROM samples WHERE number <= ?", oldest)
            held = database.execute(
                "SELECT total(bytes) FROM samples WHERE footage IS NOT NULL"
            ).fetchone()[0]
            for row in database.execute(
                "SELECT number, footage, bytes FROM samples WHERE footage IS NOT NULL "
                "ORDER BY number"
            ).fetchall():
                if held <= self._most_bytes:
                    break
                held -= row["bytes"]
                gone.append(row["footage"])
                database.execute(
                    "UPDATE samples SET footage = NULL, bytes = 0 WHERE number = ?",
                    (row["number"],),
                )
        for name in gone:
            (self._videos.folder / name).unlink(missing_ok=True)

    def _named(self) -> set[str]:
        with self._database.transaction() as database:
            return {*_footage(database, "1", ())}


def _footage(database: sqlite3.Connection, where: str, values: tuple[int, ...]) -> list[str]:
    query = f"SELECT footage FROM samples WHERE footage IS NOT NULL AND {where}"  # noqa: S608
    return [row["footage"] for row in database.execute(query, values)]


def _row(waiting: _Waiting) -> tuple[object, ...]:
    answer, seen, footage = waiting.answer, waiting.seen, waiting.footage
    numbers = inputs.numbers(inputs.look(seen.clip), seen.header)
    return (
        *(answer.id, waiting.time, answer.model.bento, answer.label, answer.confidence),
        # SQLite has no NaN
        *(None if number != number else number for number in numbers),
        *(seen.header.codec, seen.features.astype("<f4").tobytes()),
        *(footage.name if footage else None, footage.stat().st_size if footage else 0),
    )
