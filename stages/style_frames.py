"""Take the frames of both domains of `style`: pairs to train on, and longer runs to judge by."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kinoflow import config
from kinoflow.config import Params
from kinoflow.data import tables
from kinoflow.data.tables import SIDES
from kinoflow.style import pictures, settings
from kinoflow.style.cyclegan.store import ROWS, SOURCES, Store
from kinoflow.style.settings import DOMAINS, Domain, Style
from kinoflow.system import files, terminal
from kinoflow.system.errors import UserError
from kinoflow.video import area
from kinoflow.video.decoder import probe, runs
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import ClipSpec, Frames
from kinoflow.workspace import Workspace, run
from stages.sources import looks
from stages.sources.layout import is_video
from stages.sources.synthetic import SyntheticVideo, videos_of


class Reader:
    """Reads the frames of one domain.

    Args:
        domain: what it is made of.
        params: all settings.
        style: the section `style` of them.
    """

    def __init__(self, domain: Domain, params: Params, style: Style) -> None:
        self.domain = domain
        self.style = style
        self.films: dict[str, SyntheticVideo] = {}
        if domain.look:
            self.films = {film.name: film for film in videos_of(params.dataset, params.seed)}

    def read(self, source: str, moments: int, length: int) -> dict[int, Frames]:
        """Runs of consecutive frames, uint8 RGB (length, H, W, 3), at moments spread evenly.

        They are given by the index of their first frame.

        A picture is one run that repeats it, and so is a video of one frame.

        Raises UserError for a file that cannot be read.
        """
        if self.domain.look:
            film = looks.render(self.films[source], [self.domain.look])[self.domain.look]
            starts = _starts(len(film), moments, length)
            return {start: self._small(film[start : start + length], length) for start in starts}
        if not is_video(source):
            picture = pictures.to_bytes(pictures.read(Path(source)))
            return {0: self._small(picture[None], length)}
        try:
            count = probe(source).frames
            spec = ClipSpec(min(length, count), self.style.height, self.style.width)
            starts = _starts(count, moments, length)
            found = zip(starts, runs(source, set(starts), spec), strict=True)
            return {start: _filled(run, length) for start, run in found}
        except UnreadableVideo as error:
            raise UserError(f"{source} cannot be read: {error}") from None

    def _small(self, frames: Frames, length: int) -> Frames:
        width, height = self.style.width, self.style.height
        return _filled(np.stack([area.scale(frame, width, height) for frame in frames]), length)


def take(table: pd.DataFrame, params: Params, style: Style, folder: Path) -> None:
    """Write the store of frames into a folder.

    Args:
        table: the table `SOURCES`.
        params: all settings.
        style: the section `style` of them.
        folder: a new one.

    Raises UserError for a file that cannot be read.
    """
    store = Store(folder)
    rows: list[dict[str, object]] = []
    for name in DOMAINS:
        reader = Reader(style.domain(name), params, style)
        for side in SIDES:
            part = table[(table["domain"] == name) & (table["split"] == side)]
            taken: list[Frames] = []
            shown = terminal.progress(_rows(part), f"frames of {name}, {side}", len(part))
            for row in shown:
                moments, length = (style.moments, 2) if side == "train" else (1, style.run)
                for start, found in reader.read(row["source"], moments, length).items():
                    taken.append(found)
                    rows.append(row | {"start": start})
            store.write(name, side, np.stack(taken))
    store.finish(pd.DataFrame(rows)[[*ROWS.columns]])


def _rows(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    yield from table.to_dict("records")  # type: ignore[misc]


def _starts(count: int, moments: int, length: int) -> Sequence[int]:
    """Where runs begin: at the middles of equal parts of what there is room for."""
    room = max(1, count - length + 1)
    return sorted({(2 * moment + 1) * room // (2 * moments) for moment in range(moments)})


def _filled(frames: Frames, length: int) -> Frames:
    """A run with its last frame repeated up to a length."""
    return frames.take(np.minimum(np.arange(length), len(frames) - 1), axis=0)


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    style = settings.of(params.style, workspace.params)
    table = tables.read(workspace.work / "style" / "sources.csv", SOURCES)
    with files.replacing_folder(workspace.work / "style" / "frames") as folder:
        take(table, params, style, folder)
    print(f"style_frames: {len(table)} sources in work/style/frames")


if __name__ == "__main__":
    run(main)
