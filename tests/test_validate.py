import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kinoflow import catalog, clips, files, paths
from kinoflow.console import UserError
from kinoflow.params import Params
from kinoflow.video import ClipSpec
from stages import validate
from stages.validate import Finding
from tests.conftest import ROOT

SPEC = ClipSpec(4, 16, 24)
FIRST, SECOND, THIRD = (f"A/v_A_g01_c0{clip}.avi" for clip in (1, 2, 3))
SIDES = ["train"] * 3 + ["val"] * 2 + ["test"] * 2  # of groups 1 to 7


@dataclass
class Work:
    """The tables and clips that the stages before leave behind; all is well with them."""

    videos: pd.DataFrame
    split: pd.DataFrame
    made: pd.DataFrame
    store: Path
    site: Path

    def findings(self) -> list[Finding]:
        return validate.validate(
            self.videos, self.split, self.made, self.store, SPEC, self.site
        )

    def change(self, table: str, column: str, value: object, video: str = FIRST) -> None:
        rows = getattr(self, table)
        rows.loc[rows["video"] == video, column] = value

    def drop(self, table: str, video: str = FIRST) -> None:
        rows = getattr(self, table)
        setattr(self, table, rows[rows["video"] != video])

    def repeat(self, table: str, video: str = FIRST) -> None:
        rows = getattr(self, table)
        setattr(self, table, pd.concat([rows, rows[rows["video"] == video]], ignore_index=True))

    def clip(self, content: np.ndarray, video: str = FIRST) -> None:
        np.save(clips.clip_path(self.store, video), content)


def work_tree(folder: Path, spec: ClipSpec) -> Work:
    rows = [
        {
            "video": f"{label}/v_{label}_g{group:02d}_c{clip:02d}.avi",
            "label": label,
            "group": f"v_{label}_g{group:02d}",
            "split": SIDES[group - 1],
        }
        for label in "AB"
        for group in range(1, len(SIDES) + 1)
        for clip in (1, 2, 3)
    ]
    table = pd.DataFrame(rows).assign(
        frames=40, fps=25.0, seconds=1.6, width=64, height=48, codec="MJPG", bytes=1000,
        readable=True, problem="",
    )  # fmt: skip
    table["md5"] = [f"{number:032x}" for number in range(len(table))]
    videos = table[list(catalog.COLUMNS)].astype(catalog.COLUMNS)
    made = videos[["video", "md5"]].assign(spec=clips.describe(spec))
    work = Work(videos, table[["video", "split"]], made, folder / paths.CLIPS, folder / "site")
    rng = np.random.default_rng(0)
    for video in videos["video"]:
        clips.clip_path(work.store, video).parent.mkdir(parents=True, exist_ok=True)
        work.clip(rng.integers(0, 256, spec.shape, dtype=np.uint8), video)
    return work


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return work_tree(tmp_path, SPEC)


def test_good_data_passes(work: Work) -> None:
    assert work.findings() == []


def test_the_site_reads_without_a_network_and_without_telling(work: Work) -> None:
    work.change("split", "split", "val")
    work.findings()
    index = (work.site / "index.html").read_text()
    for table, verdict in {"catalog": "passed", "split": "failed", "clips": "passed"}.items():
        (page,) = (work.site / "validations" / table).rglob("*.html")
        assert f'{table}: <a href="{page.relative_to(work.site).as_posix()}">{verdict}</a>' in index
        assert (FIRST in page.read_text()) == (verdict == "failed")
    for page in work.site.rglob("*.html"):
        text = page.read_text()
        assert "great-expectations-web-assets" not in text
        assert str(work.site.parent) not in text
    assert (work.site / "static" / "images" / "logo-long.png").exists()


IN_SET = "expect_column_values_to_be_in_set"
BETWEEN = "expect_column_values_to_be_between"
UNIQUE = "expect_column_values_to_be_unique"
NOT_NULL = "expect_column_values_to_not_be_null"
GROUP = (FIRST, SECOND, THIRD)


def _unreadable(work: Work) -> None:
    work.change("videos", "readable", False)
    work.change("videos", "problem", "the file is empty")


def _truncate(work: Work) -> None:
    path = clips.clip_path(work.store, FIRST)
    path.write_bytes(path.read_bytes()[:-1])


def _damage(work: Work) -> None:
    # a header that Python's tokenizer gives up on
    path = clips.clip_path(work.store, FIRST)
    path.write_bytes(path.read_bytes().replace(b"}", b" "))


BLOCKING: dict[str, tuple[Callable[[Work], object], str, str, str, tuple[str, ...]]] = {
    # what is wrong: (how it comes about, table, column, expectation, videos)
    "a video twice": (lambda w: w.repeat("videos"), "catalog", "video", UNIQUE, (FIRST,)),
    "no label": (
        lambda w: w.change("videos", "label", ""), "catalog", "label", NOT_NULL, (FIRST,)
    ),
    "no group": (
        lambda w: w.change("videos", "group", ""), "catalog", "group", NOT_NULL, (FIRST,)
    ),
    "no md5": (lambda w: w.change("videos", "md5", ""), "catalog", "md5", NOT_NULL, (FIRST,)),
    "frames not counted": (
        lambda w: w.change("videos", "frames", pd.NA), "catalog", "frames", NOT_NULL, (FIRST,)
    ),
    "no frames": (lambda w: w.change("videos", "frames", 0), "catalog", "frames", BETWEEN, (FIRST,)),
    "a group on two sides": (
        lambda w: w.change("split", "split", "test"), "split", "splits_of_group", IN_SET, GROUP
    ),
    "a file on two sides": (
        lambda w: w.change("videos", "md5", "0" * 32, "B/v_B_g07_c01.avi"),
        "split", "splits_of_file", IN_SET, (FIRST, "B/v_B_g07_c01.avi"),
    ),
    "a video on two sides": (
        lambda w: w.repeat("split"), "split", "video", UNIQUE, (FIRST,)
    ),
    "a fourth side": (
        lambda w: w.change("split", "split", "holdout"), "split", "split", IN_SET, (FIRST,)
    ),
    "a video from nowhere": (
        lambda w: w.drop("videos"), "split", "source", IN_SET, (FIRST,)
    ),
    "an unreadable video in use": (_unreadable, "split", "source", IN_SET, (FIRST,)),
    "no row of a clip": (lambda w: w.drop("made"), "clips", "rows", IN_SET, (FIRST,)),
    "two rows of a clip": (lambda w: w.repeat("made"), "clips", "rows", IN_SET, (FIRST,)),
    "no file of a clip": (
        lambda w: clips.clip_path(w.store, FIRST).unlink(), "clips", "shape", IN_SET, (FIRST,)
    ),
    "a truncated clip": (_truncate, "clips", "shape", IN_SET, (FIRST,)),
    "a damaged clip": (_damage, "clips", "shape", IN_SET, (FIRST,)),
    "a clip of another shape": (
        lambda w: w.clip(np.full((4, 16, 16, 3), range(3), np.uint8)),
        "clips", "shape", IN_SET, (FIRST,),
    ),
    "a clip of another type": (
        lambda w: w.clip(np.zeros(SPEC.shape, np.float32)), "clips", "dtype", IN_SET, (FIRST,)
    ),
    "a clip of another spec": (
        lambda w: w.change("made", "spec", "8x16x24 opencv-4.0.0"),
        "clips", "spec", IN_SET, (FIRST,),
    ),
    "a clip of a file that changed": (
        lambda w: w.change("made", "md5", "f" * 32), "clips", "source", IN_SET, (FIRST,)
    ),
}  # fmt: skip
