"""A small work tree that is fit to train on, and ways to spoil it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kinoflow.data import tables
from kinoflow.data.clips import ClipStore, describe
from kinoflow.reports.records import Finding
from kinoflow.video.spec import ClipSpec
from kinoflow.workspace import Workspace
from stages import validate

SPEC = ClipSpec(4, 16, 24)
SIDES = ["train"] * 3 + ["val"] * 2 + ["test"] * 2  # of groups 1 to 7

AMONG = "expect_column_values_to_be_in_set"
BETWEEN = "expect_column_values_to_be_between"
KNOWN = "expect_column_values_to_not_be_null"
EMPTY = "expect_column_values_to_be_null"
UNIQUE = "expect_column_values_to_be_unique"


def name(group: int, clip: int, label: str = "A") -> str:
    return f"{label}/v_{label}_g{group:02d}_c{clip:02d}.avi"


@dataclass
class Work:
    """What the earlier stages leave behind, with nothing wrong, and ways to spoil it."""

    videos: pd.DataFrame
    split: pd.DataFrame
    records: pd.DataFrame  # of the clips
    store: ClipStore
    site: Path

    def set(self, table: str, video: str, **values: object) -> None:
        rows = getattr(self, table)
        for column, value in values.items():
            rows.loc[rows["video"] == video, column] = value

    def drop(self, table: str, video: str) -> None:
        rows = getattr(self, table)
        setattr(self, table, rows[rows["video"] != video])

    def repeat(self, table: str, video: str) -> None:
        rows = getattr(self, table)
        setattr(self, table, pd.concat([rows, rows[rows["video"] == video]], ignore_index=True))

    def clip(self, video: str) -> Path:
        return self.store.path(video)

    def findings(self, spec: ClipSpec = SPEC, *, random: bool = False) -> list[Finding]:
        self.store.write_records(self.records)
        return validate.validate(
            self.videos, self.split, self.store, spec, self.site, random=random
        )

    def found(self, table: str, severity: str) -> dict[tuple[str, str], tuple[str, ...]]:
        """The videos of each finding in one table."""
        return {
            (finding.column, finding.expectation): finding.videos
            for finding in self.findings()
            if (finding.table, finding.severity) == (table, severity)
        }


def work_tree(folder: Path, spec: ClipSpec) -> Work:
    table = pd.DataFrame(
        {
            "video": name(group, clip, label),
            "label": label,
            "group": f"v_{label}_g{group:02d}",
            "split": side,
        }
        for label in "AB"
        for group, side in enumerate(SIDES, start=1)
        for clip in (1, 2, 3)
    )
    table = table.assign(frames=40, fps=25.0, seconds=1.6, width=64, height=48, codec="MJPG")
    table = table.assign(bytes=1000, readable=True, problem="")
    table["md5"] = [f"{number:032x}" for number in range(len(table))]
    videos = table[list(tables.CATALOG.columns)].astype(tables.CATALOG.columns)
    split = table[["video", "split", "group"]]
    records = videos[["video", "md5"]].assign(spec=describe(spec))
    store = ClipStore(Workspace(folder).clips)
    work = Work(videos, split, records, store, folder / "site")
    rng = np.random.default_rng(0)
    for video in videos["video"]:
        work.clip(video).parent.mkdir(parents=True, exist_ok=True)
        np.save(work.clip(video), rng.integers(0, 256, spec.shape, dtype=np.uint8))
    return work
