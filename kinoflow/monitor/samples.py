"""The service's latest answers, as it keeps them in its state folder for monitoring."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from kinoflow.monitor.answers import Served
from kinoflow.monitor.inputs import NUMBERS
from kinoflow.system.errors import UserError

FILE = "samples.sqlite"  # in the state folder
FOOTAGE = "samples"  # folder beside it, with the videos of some of the answers

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS samples (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    answer TEXT NOT NULL UNIQUE,  -- its id
    time REAL NOT NULL,  -- seconds since 1970
    bento TEXT NOT NULL,  -- the version that answered
    label TEXT NOT NULL,
    confidence REAL NOT NULL,  -- in the label
    {", ".join(f"{name} REAL" for name in NUMBERS)},  -- null where it is not known
    codec TEXT NOT NULL,  -- empty where it is not known
    features BLOB NOT NULL,  -- float32, little-endian
    footage TEXT,  -- the name of the video in the folder samples/
    bytes INTEGER NOT NULL  -- of the video
);
-- each answer asks for the videos; without this it would read the features of all samples
CREATE INDEX IF NOT EXISTS footage ON samples (number, footage, bytes) WHERE footage IS NOT NULL;
"""


def newest_bento(path: Path) -> str | None:
    """The version of the Bento that gave the latest answer of a state's samples; None: no answer.

    Raises UserError for a file that is no such database.
    """
    rows = _read(path, "SELECT bento FROM samples ORDER BY number DESC LIMIT 1", ())
    return str(rows[0]["bento"]) if rows else None


def read(path: Path, bento: str, most: int) -> Served:
    """The latest answers of one version, the oldest first.

    Args:
        path: the database; without one there are no answers.
        bento: the version of the Bento.
        most: how many.

    Raises UserError for a file that is no such database.
    """
    query = "SELECT * FROM samples WHERE bento = ? ORDER BY number DESC LIMIT ?"
    return _served(_read(path, query, (bento, most))[::-1])


def _read(path: Path, query: str, values: Sequence[str | int]) -> list[sqlite3.Row]:
    if not path.exists():
        return []
    try:
        # the service may be writing
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            return database.execute(query, values).fetchall()
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _served(rows: list[sqlite3.Row]) -> Served:
    def texts(name: str) -> np.ndarray:
        return np.array([row[name] or "" for row in rows], dtype=np.str_)

    def floats(name: str) -> np.ndarray:
        # None becomes NaN
        return np.array([row[name] for row in rows], dtype=np.float64)

    features = [np.frombuffer(row["features"], "<f4") for row in rows]
    return Served(
        numbers=np.stack([floats(name) for name in NUMBERS], axis=1),
        codec=texts("codec"),
        label=texts("label"),
        confidence=floats("confidence"),
        features=np.stack(features) if rows else np.zeros((0, 0), np.float32),
        id=texts("answer"),
        time=floats("time"),
        footage=texts("footage"),
    )
