"""What the stage validate leaves for training and for people: verdict, page and terminal."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kinoflow.config import Params
from kinoflow.data import tables
from kinoflow.reports.records import Finding, require_validated
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from stages import validate, validate_history
from stages.validate_suites import suites
from tests import pages
from tests.conftest import ROOT
from tests.validation import AMONG, BETWEEN, SPEC, Work, name, work_tree


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
    tables.write(work.videos, Workspace().catalog, tables.CATALOG)
    tables.write(work.split, Workspace().split, tables.SPLIT)
    work.store.write_records(work.records)


def test_the_page_shows_each_expectation_and_what_does_not_meet_it(work: Work) -> None:
    work.set("split", name(1, 1), split="test")
    np.save(work.clip(name(5, 1)), np.zeros(SPEC.shape, np.uint8))
    work.findings()
    (file,) = work.site.iterdir()
    text = file.read_text()
    assert pages.faults(text) == []
    every = [expected for suite in suites(SPEC).values() for expected in suite]
    counts = [text.count(f"<td>{verdict}</td>") for verdict in ("met", "failed", "warning")]
    assert counts == [len(every) - 2, 1, 1]
    for expected in every:
        assert expected.description in pages.shown(text)
    assert f"splits_of_group {AMONG} value_set [1]" in text
    for clip in (1, 2, 3):
        assert f'<th scope="row">{name(1, clip)}</th><td>2</td>' in text
    assert f'<th scope="row">{name(5, 1)}</th><td>0</td>' in text
    assert name(2, 1) not in text


def test_no_name_is_taken_for_markup(work: Work) -> None:
    for number, hostile in enumerate(pages.HOSTILE, start=1):
        for table in ("videos", "split", "records"):
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
    require_validated(Workspace().validation)
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


def test_folds_are_checked_as_a_split_is(work: Work) -> None:
    number = work.split["group"].str[-2:].astype(int)
    main = work.split.assign(split=np.where(number > 5, "val", "train"))
    parts = []
    for fold in (1, 2):  # fold 1 tests on even groups, fold 2 on odd ones
        sides = np.select([number % 2 != fold % 2, number == fold], ["test", "val"], "train")
        parts.append(main.assign(fold=fold, split=sides))
    folds = pd.concat(parts, ignore_index=True)

    def blocking(table: pd.DataFrame) -> dict[str, set[str]]:
        work.store.write_records(work.records)
        found = validate.validate(work.videos, main, work.store, SPEC, work.site, folds=table)
        assert "folds" in (work.site / "index.html").read_text()
        return {
            f"{each.table}.{each.column}": {*each.videos}
            for each in found
            if each.severity == "critical"
        }

    assert blocking(folds) == {}
    # a clip of group 3 is tested on in both folds, apart from its recording in the first
    spoiled = folds.copy()
    moved = (spoiled["video"] == name(3, 1)) & (spoiled["fold"] == 1)
    spoiled.loc[moved, "split"] = "test"
    recording = {name(3, clip) for clip in (1, 2, 3)}
    assert blocking(spoiled) == {
        "folds.tests_of_video": {name(3, 1)},
        "folds.tests_of_group": recording,
        "folds.splits_of_group": recording,
        "folds.splits_of_merged": recording,
    }


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
        require_validated(Workspace().validation)


def test_data_that_differ_from_those_accepted_before_wait_for_a_person(
    here: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = (Workspace().validation, Workspace().validation_site / "index.html")
    write(here)
    validate.main(Workspace())
    accepted, first = Workspace().accepted.read_bytes(), [path.read_bytes() for path in outputs]
    validate.main(Workspace())  # nothing is new

    here.videos["md5"] = here.records["md5"] = [f"dark {md5}" for md5 in here.videos["md5"]]
    for video in here.videos["video"]:
        np.save(here.clip(video), np.load(here.clip(video)) // 2)
    write(here)
    with pytest.raises(UserError, match=r"look different .* brightness .* validation\.accept"):
        validate.main(Workspace())
    assert not Workspace().validation.exists()
    assert Workspace().accepted.read_bytes() == accepted
    text = outputs[1].read_text()
    assert pages.faults(text) == []
    assert "<dd>differs</dd>" in text
    assert "validation.accept" in text

    params = Workspace().params.read_text()
    assert "accept: [] " in params
    Workspace().params.write_text(params.replace("accept: [] ", "accept: [A, B] "))
    validate.main(Workspace())
    # the outputs say nothing of what came before
    assert [path.read_bytes() for path in outputs] == first
    assert Workspace().accepted.read_bytes() != accepted

    earlier = Workspace().validation_history
    index = (earlier / "index.html").read_text()
    assert pages.faults(index) == []
    shown = pages.shown(index)
    assert [shown.count(verdict) for verdict in ("passed", "brightness")] == [3, 1]
    copy = (earlier / "000002" / "index.html").read_text()
    assert copy == text.replace("../validation.history/index.html", "../index.html") != text
    assert not [*earlier.glob(f"{files.TEMPORARY}*")]


def test_only_the_newest_pages_are_kept(here: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate_history, "_MOST", 2)
    page = Workspace().validation_site / "index.html"
    for number in range(4):
        files.write_text(page, f"page {number}")
        for _ in range(2):
            validate_history.keep(Workspace(), here.videos, "passed", 0, [])
    folder = Workspace().validation_history
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == ["000003", "000004", "index.html"]
    assert [(folder / name / "index.html").read_text() for name in kept[:2]] == ["page 2", "page 3"]
