"""Each expectation of the catalog, the split and the clips, and what does not meet it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.validation import AMONG, BETWEEN, EMPTY, KNOWN, SPEC, UNIQUE, Work, name, work_tree


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return work_tree(tmp_path, SPEC)


def test_good_data_passes(work: Work) -> None:
    assert work.findings() == []


def test_what_blocks_in_the_catalog(work: Work) -> None:
    work.repeat("videos", name(1, 1))
    work.set("videos", name(1, 2), label="")
    work.set("videos", name(1, 3), group="")
    work.set("videos", name(2, 1), md5="")
    work.set("videos", name(2, 2), frames=pd.NA)
    work.set("videos", name(2, 3), frames=0)
    assert work.found("catalog", "critical") == {
        ("video", UNIQUE): (name(1, 1),),
        ("label", KNOWN): (name(1, 2),),
        ("group", KNOWN): (name(1, 3),),
        ("md5", KNOWN): (name(2, 1),),
        ("frames", KNOWN): (name(2, 2),),
        ("frames", BETWEEN): (name(2, 3),),
    }


def test_what_is_warned_of_in_the_catalog(work: Work) -> None:
    broken = {"readable": False, "problem": "the file is empty", "md5": "", "codec": ""}
    work.set("videos", name(1, 1), **broken, frames=pd.NA, fps=pd.NA, width=pd.NA, height=pd.NA)
    work.set("videos", name(1, 2), frames=SPEC.frames - 1)
    work.set("videos", name(1, 3), fps=0.0)
    work.set("videos", name(2, 1), width=8)
    work.set("videos", name(2, 2), height=8)
    work.set("videos", name(2, 3), label="C")
    work.set("videos", name(3, 1), md5="0" * 32)
    work.set("videos", name(3, 1, "B"), md5="0" * 32)
    work.drop("split", name(2, 3))
    twice = (name(3, 1), name(3, 1, "B"))
    assert work.found("catalog", "warning") == {
        ("problem", EMPTY): (name(1, 1),),
        ("frames", BETWEEN): (name(1, 2),),
        ("fps", BETWEEN): (name(1, 3),),
        ("width", BETWEEN): (name(2, 1),),
        ("height", BETWEEN): (name(2, 2),),
        ("share_of_largest", BETWEEN): (name(2, 3),),
        ("label_in_split", AMONG): (name(2, 3),),
        ("md5", UNIQUE): twice,
        ("labels_of_file", BETWEEN): twice,
    }


def test_a_group_on_two_sides_blocks(work: Work) -> None:
    work.set("split", name(1, 1), split="test")
    group = (name(1, 1), name(1, 2), name(1, 3))
    assert work.found("split", "critical") == {("splits_of_group", AMONG): group}


def test_a_random_split_is_warned_of_and_all_else_still_blocks(work: Work) -> None:
    work.set("split", name(1, 1), split="test")
    work.set("split", name(2, 1), split="holdout")
    findings = work.findings(random=True)
    found = {(finding.column, finding.severity): finding.videos for finding in findings}
    groups = tuple(name(group, clip) for group in (1, 2) for clip in (1, 2, 3))
    assert found["splits_of_group", "warning"] == groups
    assert found["split", "critical"] == (name(2, 1),)


def test_a_file_on_two_sides_blocks_whatever_its_names(work: Work) -> None:
    work.set("videos", name(7, 1), md5=work.videos["md5"].iloc[0])
    assert work.found("split", "critical") == {("splits_of_file", AMONG): (name(1, 1), name(7, 1))}


def test_a_class_missing_on_a_side_blocks(work: Work) -> None:
    for clip in (1, 2, 3):
        work.drop("split", name(6, clip))
        work.drop("split", name(7, clip))
    (found,) = (finding for finding in work.findings() if finding.severity == "critical")
    assert (found.column, found.expectation) == ("splits_of_label", AMONG)
    assert (len(found.videos), found.count) == (10, 15)
    assert str(found).endswith(f"{name(1, 1)}, {name(1, 2)}, {name(1, 3)} and 12 more")


def test_what_else_blocks_or_is_warned_of_in_the_split(work: Work) -> None:
    work.repeat("split", name(1, 1))
    work.drop("videos", name(2, 1))
    work.set("videos", name(2, 2), readable=False, problem="the file is empty")
    for clip in (1, 2, 3):
        work.set("split", name(3, clip), split="holdout")
        work.drop("split", name(7, clip))
    blocking = work.found("split", "critical")
    holdout = tuple(name(3, clip) for clip in (1, 2, 3))
    assert blocking.pop(("splits_of_label", AMONG))  # it now has four
    assert blocking == {
        ("video", UNIQUE): (name(1, 1),),
        ("source", AMONG): (name(2, 1), name(2, 2)),
        ("split", AMONG): holdout,
    }
    few = tuple(sorted([*holdout, *(name(6, clip) for clip in (1, 2, 3))]))
    warned = work.found("split", "warning")
    assert warned == {("videos_on_side", BETWEEN): few, ("groups_on_side", BETWEEN): few}


def test_what_blocks_or_is_warned_of_in_the_clips(work: Work) -> None:
    work.drop("records", name(1, 1))
    work.repeat("records", name(1, 2))
    work.set("records", name(1, 3), spec="8x16x24 opencv-4.0.0")
    work.set("records", name(2, 1), md5="f" * 32)
    work.drop("videos", name(2, 2))
    work.set("videos", name(2, 3), readable=False, problem="the file is empty")
    work.clip(name(3, 1)).unlink()
    whole = work.clip(name(3, 2)).read_bytes()
    work.clip(name(3, 2)).write_bytes(whole[:-1])
    # a header that Python's tokenizer, which NumPy falls back on, gives up on
    work.clip(name(3, 3)).write_bytes(whole.replace(b"}", b" "))
    np.save(work.clip(name(4, 1)), np.resize(np.arange(256, dtype=np.uint8), (4, 16, 16, 3)))
    np.save(work.clip(name(4, 2)), np.zeros(SPEC.shape, np.float32))
    np.save(work.clip(name(4, 3)), np.zeros((0, 16, 24, 3), np.uint8))
    np.save(work.clip(name(5, 1)), np.full(SPEC.shape, (9, 90, 200), np.uint8))
    damaged = (name(3, 1), name(3, 2), name(3, 3), name(4, 1), name(4, 3))
    assert work.found("clips", "critical") == {
        ("rows", AMONG): (name(1, 1), name(1, 2)),
        ("spec", AMONG): (name(1, 3),),
        ("source", AMONG): (name(2, 1), name(2, 2), name(2, 3)),
        ("shape", AMONG): damaged,
        ("dtype", AMONG): (name(4, 2),),
    }
    assert work.found("clips", "warning") == {("contrast", BETWEEN): (name(5, 1),)}


def test_masked_clips_pass_unless_what_they_show_is_blank(tmp_path: Path) -> None:
    masked = replace(SPEC, padding="mask")
    work = work_tree(tmp_path, masked)
    work.set("videos", name(1, 1), frames=1)
    short = np.load(work.clip(name(1, 1)))
    short[1:] = 0
    np.save(work.clip(name(1, 1)), short)
    (finding,) = work.findings(masked)
    assert (finding.column, finding.severity) == ("frames", "warning")
    assert finding.meaning == "at least 4 frames, or black frames fill the clip"
    short[0] = (9, 90, 200)
    np.save(work.clip(name(1, 1)), short)
    assert {finding.column for finding in work.findings(masked)} == {"frames", "contrast"}


def test_empty_tables_and_a_single_class_block(work: Work) -> None:
    work.videos["label"] = "A"
    work.split, work.records = work.split[:0], work.records[:0]
    found = {(finding.table, finding.column): finding for finding in work.findings()}
    assert str(found["catalog", "label"]).endswith("(at least two classes are readable)")
    assert found["split", "split"].severity == "critical"
    assert found["clips", "rows"].count == len(work.videos)
