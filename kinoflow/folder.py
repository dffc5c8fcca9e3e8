"""Answer for all videos of a folder, into a table that an interrupted run goes on with."""

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd

from kinoflow.bundle import DESCRIPTION, MODEL, Bundle
from kinoflow.data import tables
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.system.sandbox import Bounds, OutOfBoundsError, run_sandboxed
from kinoflow.system.terminal import printable
from kinoflow.video.decoder import sample
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import Frames

# further columns: p_<label>, the probability of each class
ANSWERS = tables.Schema(
    {
        "video": "str",  # path below the folder
        "predicted": "str",  # "" if the video could not be read
        "probability": "Float64",
        "problem": "str",  # why it could not be read
        "bytes": "int64",
        "modified": "int64",  # nanoseconds since 1970
        "model": "str",  # MD5 of the bundle that answered
    },
    others="Float64",
    float_format="%.9g",
)

_EVERY = 5.0  # seconds from one writing of the table to the next, at least
_SHARE = 20  # writing takes no more than a twentieth of the time


@dataclass(frozen=True)
class Folder:
    """The videos of a folder, and which of them a table answers for.

    Args:
        root: the folder.
        table: the CSV file to write. It may lie in the folder.
        bundle: what answers.
        bounds: how much time and memory the decoding of one video may take.
    """

    root: Path
    table: Path
    bundle: Bundle
    bounds: Bounds

    def answer(self, videos: list[str]) -> Iterator[bool]:
        """Answer for videos that `missing` names; yield for each whether it could be read.

        The table is written from time to time, and at the end, also if the caller stops early.
        """
        rows = self._kept(self.files())
        written = time.monotonic()
        pause = _EVERY
        try:
            for video, clip in self._clips(videos):
                rows[video] = self._row(video, clip)
                yield not isinstance(clip, str)
                if time.monotonic() - written > pause:
                    began = time.monotonic()
                    self._write(rows)
                    written = time.monotonic()
                    pause = max(_EVERY, _SHARE * (written - began))
        finally:
            self._write(rows)

    def missing(self) -> list[str]:
        """The videos that the table does not answer for yet, or that changed; sorted.

        Raises UserError for a table that is none of this command.
        """
        found = self.files()
        kept = self._kept(found)
        return [video for video in found if video not in kept]

    def files(self) -> list[str]:
        """All files below the folder but the table and hidden ones, by their paths, sorted."""
        found = []
        for folder, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [
                (Path(folder) / name).relative_to(self.root).as_posix()
                for name in names
                if not name.startswith(".") and not _same(Path(folder) / name, self.table)
            ]
        return sorted(found)

    def _kept(self, found: list[str]) -> dict[str, dict[str, object]]:
        """The rows of the table that hold still, by the path of the video."""
        if not self.table.exists():
            return {}
        try:
            table = tables.read(self.table, ANSWERS)
            columns = [*ANSWERS.columns, *(f"p_{label}" for label in self.bundle.labels)]
            if list(table.columns[: len(ANSWERS.columns)]) != list(ANSWERS.columns):
                raise ValueError
        except (ValueError, StopIteration, UnicodeDecodeError):
            raise UserError(
                f"{self.table} is no table of answers: name another file, or move it away"
            ) from None
        if list(table.columns) != columns:
            return {}
        rows = {str(row["video"]): row for row in table.to_dict("records")}
        return {
            video: {str(name): value for name, value in row.items()}
            for video in found
            if (row := rows.get(_written(video))) is not None
            and (row["bytes"], row["modified"], row["model"]) == (*self._state(video), self._model)
        }

    def _clips(self, videos: list[str]) -> Iterator[tuple[str, Frames | str]]:
        """Each video with its clip (T, H, W, 3), or with why there is none; decoded ahead."""
        with ThreadPoolExecutor(self.bounds.max_calls) as pool:
            # a few videos ahead, so that clips do not fill the memory
            ahead = [(video, pool.submit(self._decode, video)) for video in videos[:8]]
            for video in [*videos[8:], *[None] * len(ahead)]:
                done, future = ahead.pop(0)
                if video is not None:
                    ahead.append((video, pool.submit(self._decode, video)))
                yield done, future.result()

    def _decode(self, video: str) -> Frames | str:
        path = self.root / video
        try:
            return run_sandboxed(partial(sample, spec=self.bundle.clip), path, self.bounds)
        except (UnreadableVideo, OutOfBoundsError) as problem:
            return str(problem)

    def _row(self, video: str, clip: Frames | str) -> dict[str, object]:
        size, modified = self._state(video)
        state = {"bytes": size, "modified": modified, "model": self._model}
        names = [f"p_{label}" for label in self.bundle.labels]
        if isinstance(clip, str):
            nothing = {"predicted": "", "probability": None, "problem": clip}
            return nothing | state | dict.fromkeys(names)
        answers = self.bundle.predict(clip[None])[0]
        best = int(answers.argmax())
        found = {"predicted": self.bundle.labels[best], "probability": float(answers[best])}
        probabilities = dict(zip(names, answers.astype(np.float64).tolist(), strict=True))
        return found | {"problem": ""} | state | probabilities

    def _write(self, rows: dict[str, dict[str, object]]) -> None:
        names = [f"p_{label}" for label in self.bundle.labels]
        listed = [rows[video] | {"video": _written(video)} for video in sorted(rows)]
        table = pd.DataFrame(listed, columns=[*ANSWERS.columns, *names])
        tables.write(table, self.table, ANSWERS)

    def _state(self, video: str) -> tuple[int, int]:
        try:
            found = (self.root / video).stat()
        except OSError:
            return -1, -1
        return found.st_size, found.st_mtime_ns

    @cached_property
    def _model(self) -> str:
        if not (self.bundle.folder / MODEL).exists():  # it is a form of a bundle
            return files.folder_md5(self.bundle.folder)
        digest = hashlib.md5(usedforsecurity=False)
        for name in (DESCRIPTION, MODEL):
            digest.update((self.bundle.folder / name).read_bytes())
        return digest.hexdigest()


def _same(path: Path, other: Path) -> bool:
    return path.name == other.name and path.absolute() == other.absolute()


def _written(video: str) -> str:
    """The path of a video as UTF-8 can hold it: what it cannot is escaped."""
    try:
        video.encode()
    except UnicodeEncodeError:
        return printable(video)
    return video
