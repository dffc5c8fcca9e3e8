import os
import subprocess
import sys
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kinoflow.config import Params
from kinoflow.data import catalog, clips
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.video import ClipSpec
from kinoflow.workspace import Workspace
from stages import train, validate
from stages.validate import Finding
from tests import pages
from tests.conftest import ROOT

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
    """What the stages before leave behind, with nothing wrong, and ways to spoil it."""

    videos: pd.DataFrame
    split: pd.DataFrame
    made: pd.DataFrame
    store: Path
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
        return clips.clip_path(self.store, video)

    def findings(self, spec: ClipSpec = SPEC) -> list[Finding]:
        return validate.validate(self.videos, self.split, self.made, self.store, spec, self.site)

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
    videos = table[list(catalog.COLUMNS)].astype(catalog.COLUMNS)
    made = videos[["video", "md5"]].assign(spec=clips.describe(spec))
    work = Work(videos, table[["video", "split"]], made, Workspace(folder).clips, folder / "site")
    rng = np.random.default_rng(0)
    for video in videos["video"]:
        work.clip(video).parent.mkdir(parents=True, exist_ok=True)
        np.save(work.clip(video), rng.integers(0, 256, spec.shape, dtype=np.uint8))
    return work


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return work_tree(tmp_path, SPEC)


@pytest.fixture
def here(tmp_path: Path, defaults: Params, monkeypatch: pytest.MonkeyPatch) -> Work:
    """The same as files in the working directory, with the repository's params.yaml."""
    monkeypatch.chdir(tmp_path)
    Workspace().params.write_bytes((Workspace(ROOT).params).read_bytes())
    return work_tree(tmp_path, defaults.clip)


def write(work: Work) -> None:
    catalog.write(work.videos, Workspace().catalog)
    files.write_text(Workspace().split, work.split.to_csv(index=False))
    clips.write_table(work.made, Workspace().clips_table)


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
    findings = validate.validate(
        work.videos, work.split, work.made, work.store, SPEC, work.site, random=True
    )
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
    work.drop("made", name(1, 1))
    work.repeat("made", name(1, 2))
    work.set("made", name(1, 3), spec="8x16x24 opencv-4.0.0")
    work.set("made", name(2, 1), md5="f" * 32)
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
    assert finding.meaning == "4 frames, or some are black"
    short[0] = (9, 90, 200)
    np.save(work.clip(name(1, 1)), short)
    assert {finding.column for finding in work.findings(masked)} == {"frames", "contrast"}


def test_empty_tables_and_a_single_class_block(work: Work) -> None:
    work.videos["label"] = "A"
    work.split, work.made = work.split[:0], work.made[:0]
    found = {(finding.table, finding.column): finding for finding in work.findings()}
    assert str(found["catalog", "label"]).endswith("(at least two classes are readable)")
    assert found["split", "split"].severity == "critical"
    assert found["clips", "rows"].count == len(work.videos)


def test_the_page_shows_each_expectation_and_what_does_not_meet_it(work: Work) -> None:
    work.set("split", name(1, 1), split="test")
    np.save(work.clip(name(5, 1)), np.zeros(SPEC.shape, np.uint8))
    work.findings()
    (file,) = work.site.iterdir()
    text = file.read_text()
    assert pages.faults(text) == []
    every = [expected for suite in validate.suites(SPEC).values() for expected in suite]
    counts = [text.count(f"<td>{verdict}</td>") for verdict in ("met", "failed", "warning")]
    assert counts == [len(every) - 2, 1, 1]
    for expected in every:
        assert escape(expected.description) in text
    assert f"splits_of_group {AMONG} value_set [1]" in text
    for clip in (1, 2, 3):
        assert f'<th scope="row">{name(1, clip)}</th><td>2</td>' in text
    assert f'<th scope="row">{name(5, 1)}</th><td>0</td>' in text
    assert name(2, 1) not in text


def test_no_name_is_taken_for_markup(work: Work) -> None:
    for number, hostile in enumerate(pages.HOSTILE, start=1):
        for table in ("videos", "split", "made"):
            rows = getattr(work, table)
            rows.loc[rows["video"] == name(number, 1), "video"] = hostile
        work.set("videos", hostile, label=hostile, group=hostile, fps=0.0)
        if number % 2:
            work.set("videos", hostile, readable=False, problem=hostile)
    work.findings()
    text = (work.site / "index.html").read_text()
    assert pages.faults(text) == []
    for hostile in pages.HOSTILE:
        assert hostile in pages.shown(text)
    # nor would it pass unseen
    assert pages.faults(text.replace("&lt;", "<").replace("&gt;", ">"))


def test_warnings_are_printed_and_do_not_stop(
    here: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    here.set("videos", name(1, 1), fps=0.0)
    write(here)
    validate.main(Workspace())
    printed = capsys.readouterr()
    assert printed.err == (
        f"warning: catalog.fps {BETWEEN} (1 to 240 frames a second): {name(1, 1)}\n"
    )
    assert "passed, warnings: 1," in printed.out
    train.require_validated(Workspace().validation)
    outputs = (Workspace().validation, Workspace().validation_site / "index.html")
    first = [path.read_bytes() for path in outputs]
    validate.main(Workspace())
    assert [path.read_bytes() for path in outputs] == first
    assert files.read_json(Workspace().validation) == {
        "passed": True,
        "split": "stratified_group",
        "failures": [],
        "warnings": [
            {
                "table": "catalog",
                "expectation": BETWEEN,
                "column": "fps",
                "severity": "warning",
                "meaning": "1 to 240 frames a second",
                "videos": [name(1, 1)],
                "count": 1,
            }
        ],
    }


def test_the_verdict_says_that_the_split_is_random(
    here: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    here.set("split", name(1, 1), split="test")
    write(here)
    with pytest.raises(UserError, match="splits_of_group"):
        validate.main(Workspace())
    text = Workspace().params.read_text().replace("method: stratified_group", "method: random")
    Workspace().params.write_text(text.replace("near_duplicates: merge", "near_duplicates: warn"))
    validate.main(Workspace())
    assert "warning: split.splits_of_group" in capsys.readouterr().err
    verdict = files.read_json(Workspace().validation)
    assert (verdict["passed"], verdict["split"]) == (True, "random")


def test_a_crash_leaves_no_older_verdict(here: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> list[Finding]:
        raise RuntimeError

    write(here)
    files.write_json(Workspace().validation, {"passed": True})
    monkeypatch.setattr(validate, "validate", crash)
    with pytest.raises(RuntimeError):
        validate.main(Workspace())
    assert not Workspace().validation.exists()
    assert not Workspace().validation_site.exists()


def test_failing_data_is_one_line_on_the_terminal(here: Work) -> None:
    here.set("split", name(1, 1), split="test")
    here.clip(name(4, 2)).unlink()
    write(here)
    ran = subprocess.run(
        [sys.executable, "-m", "stages.validate"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"error: the data failed validation: split.splits_of_group {AMONG} (")
    assert f"): {name(1, 1)}, {name(1, 2)}, {name(1, 3)}; clips.shape {AMONG} (" in line
    assert f"): {name(4, 2)}; " in line
    assert (Workspace().validation_site / "index.html").exists()
    with pytest.raises(UserError, match="failed validation"):
        train.require_validated(Workspace().validation)
