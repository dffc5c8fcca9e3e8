"""The pictures of both domains, as the stage `style_frames` keeps them in one folder:

a-train.npy, b-train.npy        pairs of consecutive frames, uint8 RGB (N, 2, H, W, 3)
a-val.npy, ... b-test.npy       runs of consecutive frames, uint8 RGB (N, R, H, W, 3)
rows.csv                        the rows of these arrays in order: what each was taken from
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kinoflow.data import tables
from kinoflow.style.settings import DomainName
from kinoflow.system import files
from kinoflow.video.spec import Frames

# a video or picture of a domain
SOURCES = tables.Schema(
    {
        "domain": "str",  # a or b
        "split": "str",  # train, val or test
        "group": "str",  # the recording; on one side in both domains
        "source": "str",  # a path, or the name of an embedded film
        "fingerprint": "str",  # changes whenever the content changes
    }
)
# a row of an array: what it was taken from, and the index of its first frame there
ROWS = tables.Schema({**SOURCES.columns, "start": "int64"})


@dataclass(frozen=True)
class Moments:
    """Pictures of one domain, each with the frame before it.

    Args:
        pairs: uint8 RGB (N, 2, H, W, 3), the frame before and the picture. A picture that belongs
            to no video is twice the same.
    """

    pairs: Frames

    def __len__(self) -> int:
        return len(self.pairs)


@dataclass(frozen=True)
class Runs:
    """Consecutive frames of one domain on one side, with the recordings that they are from."""

    frames: Frames  # uint8 RGB (N, R, H, W, 3)
    groups: tuple[str, ...]  # (N,)
    sources: tuple[str, ...]  # (N,)
    starts: tuple[int, ...]  # (N,) the index of the first frame in its source

    def __len__(self) -> int:
        return len(self.frames)


class Store:
    """The folder of pictures.

    Args:
        folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def md5(self) -> str:
        """One MD5 over all that is in it."""
        return files.folder_md5(self.folder)

    @property
    def table(self) -> pd.DataFrame:
        """The table `ROWS`."""
        return tables.read(self.folder / "rows.csv", ROWS)

    def moments(self, domain: DomainName) -> Moments:
        """What is trained on."""
        return Moments(np.load(self._path(domain, "train")))

    def runs(self, domain: DomainName, side: str) -> Runs:
        """What a translation is judged by: side val or test."""
        table = self.table
        rows = table[(table["domain"] == domain) & (table["split"] == side)]
        frames = np.load(self._path(domain, side))
        starts = tuple(int(start) for start in rows["start"])
        return Runs(frames, tuple(rows["group"]), tuple(rows["source"]), starts)

    def write(self, domain: DomainName, side: str, frames: Frames) -> None:
        """Keep the frames of a domain on one side; the folder is new."""
        np.save(self._path(domain, side), frames)

    def finish(self, table: pd.DataFrame) -> None:
        """Keep the table `ROWS`, whose rows are those of all arrays in order."""
        tables.write(table, self.folder / "rows.csv", ROWS)

    def _path(self, domain: DomainName, side: str) -> Path:
        return self.folder / f"{domain}-{side}.npy"
