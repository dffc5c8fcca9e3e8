"""What a run of style transfer has painted so far, so that an interrupted one goes on."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kinoflow.style.pictures import Picture
from kinoflow.system import files
from kinoflow.video.spec import Frames

_FAST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


class Unfinished:
    """The folder beside an output that holds what is painted of it, until all of it is.

    Args:
        output: the picture or video that is being made.
        run: all that decides what it looks like, as JSON. What another run has left is deleted.
    """

    def __init__(self, output: Path, run: dict[str, Any]) -> None:
        self.folder = output.with_name(f".{output.name[-100:]}.unfinished")
        self._state = self.folder / "picture.npz"
        run = json.loads(json.dumps(run))
        description = self.folder / "run.json"
        known = None
        with contextlib.suppress(OSError, ValueError):
            known = files.read_json(description)
        if known != run:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            files.write_json(description, run)

    def frame(self, number: int, shape: tuple[int, ...]) -> Frames | None:
        """The painted frame of this number, uint8 RGB of this shape; None if there is none."""
        path = self._frame(number)
        found = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) if path.exists() else None
        # a power cut may leave a file without content
        if found is None or found.shape != shape:
            return None
        return np.asarray(found, dtype=np.uint8)

    def keep_frame(self, number: int, painted: Frames) -> None:
        """Keep a painted frame, uint8 RGB."""
        with files.replacing(self._frame(number), durable=False) as partial:
            cv2.imwrite(str(partial), painted[..., ::-1], _FAST_PNG)

    def picture(self) -> tuple[int, int, Picture] | None:
        """The level, the steps taken there, and the picture so far; None if there is none."""
        with contextlib.suppress(OSError, ValueError, KeyError), np.load(self._state) as state:
            return int(state["level"]), int(state["step"]), state["picture"]
        return None

    def keep_picture(self, level: int, step: int, picture: Picture) -> None:
        """Keep a picture as it is after some steps of a level."""
        with files.replacing(self._state, durable=False) as partial:
            np.savez(partial, level=level, step=step, picture=picture)

    def finish(self) -> None:
        """Delete the folder, once the output is there."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _frame(self, number: int) -> Path:
        return self.folder / f"{number:06d}.png"
