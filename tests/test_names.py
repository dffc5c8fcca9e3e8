"""Names that break something somewhere are refused in one line, wherever the videos come from."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kinoflow.config import Dataset, Params
from kinoflow.data import catalog, names, tables
from kinoflow.data.clips import ClipSet, ClipStore
from kinoflow.system import errors, terminal
from kinoflow.system.errors import UserError
from kinoflow.video import ClipSpec
from kinoflow.workspace import Workspace
from stages import catalog as stage
from stages import download, extract
from tests.conftest import ROOT
from tests.media import footage, moving_square, write_video

# of a file, as bytes since a file system knows nothing else
BAD_FILES = {
    b"a" * 248 + b".avi": "has a name of 252 bytes, more than the 251",
    "ü".encode() * 125 + b"x.avi": "has a name of 255 bytes",
    b"a\xff.avi": "is not in UTF-8",
    b"a\rb.avi": "holds a control character",
    b"a\nb.avi": "holds a control character",
    b"a\x1b[31mb.avi": "holds a control character",
    b"a\x7f.avi": "holds a control character",
    "a\u2028b.avi".encode(): "holds a control character",
    b"a\\b.avi": "is no path below a folder",
    b"V_A_G01_C01.AVI": "differ only in case",
    "é.avi".encode() + b"|" + "e\u0301.avi".encode(): "differ only in how Unicode writes them",
}

GOOD_FILES = (
    *("NA.avi", "None.avi", "1e3.avi", " a .avi", "a,b.avi", 'a"b.avi', "a'b.avi", "#%20?.avi"),
    *("ü.avi", "日本.avi", "👨‍👩‍👧.avi", "می‌روم.avi", "a\u202fPM.avi"),
    *("=1+1.avi", "-rf.avi", "a: b.avi"),
    "ü" * 123 + "x.avi",  # 251 bytes
)  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work tree with two videos in data/ and the default params."""
    monkeypatch.chdir(tmp_path)
    Workspace().params.write_bytes((Workspace(ROOT).params).read_bytes())
    footage(tmp_path / "data", groups=1, clips=1)
    return tmp_path


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[[Callable[[], object]], str]:
    """Runs something as a command; the one line that it refuses with."""

    def run(main: Callable[[], object]) -> str:
        with pytest.raises(SystemExit) as end:
            errors.run(lambda: (main(), None)[1])
        said = capsys.readouterr().err
        assert end.value.code == 2, said
        assert said.startswith("error: ")
        assert said.endswith("\n")
        line = said[:-1]
        line.encode()
        assert terminal.printable(line) == line
        assert len(line.splitlines()) == 1
        return line

    return run


def add(folder: Path, name: bytes) -> None:
    video = (folder / "A" / "v_A_g01_c01.avi").read_bytes()
    for one in name.split(b"|"):
        with open(os.path.join(os.fsencode(folder), b"A", one), "wb") as file:  # noqa: PTH118, PTH123
            file.write(video)


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_name_is_refused_by_sources_and_by_the_catalog(
    name: bytes, here: Path, defaults: Params, refused: Callable
) -> None:
    add(here / "data", name)
    assert BAD_FILES[name] in refused(lambda: stage.main(Workspace()))
    assert not (here / "work").exists()

    params = defaults.model_copy(update={"dataset": Dataset(source="folder", path="data")})
    assert BAD_FILES[name] in refused(lambda: download.items(params, Workspace().downloads))


def test_all_other_names_come_through_to_the_clips(here: Path, defaults: Params) -> None:
    for number, name in enumerate(GOOD_FILES):
        write_video(here / "B" / "x.avi", moving_square(4, seed=number)).rename(
            here / "data" / "B" / name
        )
    compute = defaults.compute.model_copy(update={"workers": 1, "videos_per_task": 50})
    table = stage.examine(stage.labelled(Workspace().data), Workspace().data, None, compute)
    tables.write(table, Workspace().catalog, tables.CATALOG)
    table = tables.read(Workspace().catalog, tables.CATALOG)
    spec = ClipSpec(4, 8, 8)
    store = ClipStore(Workspace().clips)
    extract.extract(table, Workspace().data, store, spec, compute)
    made = store.records()
    assert {f"B/{name}" for name in GOOD_FILES} < set(made["video"])
    assert set(made["video"]) == set(table["video"])
    stored = ClipSet(Workspace().clips, tuple(table["video"]), np.zeros(len(table), np.int64))
    assert len(stored.read(np.arange(len(table)))) == len(GOOD_FILES) + 2
    assert not list(Workspace().clips.rglob(".partial-*"))


@pytest.mark.parametrize(
    ("video", "says"),
    [
        ("../out.avi", "is no path below a folder"),
        ("A/../../out.avi", "is no path below a folder"),
        ("{here}/out.avi", "is no path below a folder"),
        ("./A/v_A_g01_c01.avi", "is no path below a folder"),
        ("A//v_A_g01_c01.avi", "is no path below a folder"),
        ("A/", "is no path below a folder"),
        (".lists/out.avi", "is hidden"),
        ("A/.partial-1-x.avi", "is hidden"),
        ("A", "lists 1 videos that data/ does not hold, the first A: run"),
        ("A/nowhere.avi", "lists 1 videos that data/ does not hold, the first A/nowhere.avi: run"),
        ("a/V_A_G01_C01.AVI", "lists 1 videos that data/ does not hold"),
        ("x" * 300, "has a name of 300 bytes"),
        (f"{'x' * 300}/x.avi", "lies in a folder with a name of more than 255 bytes"),
        ("x/" * 520 + "x.avi", "has a path of 1045 bytes"),
    ],
)
def test_a_labels_csv_put_into_data_by_hand_leads_nowhere_else(
    video: str, says: str, here: Path, refused: Callable
) -> None:
    write_video(here / "out.avi", moving_square(4))
    video = video.format(here=here)
    Workspace().labels.write_text(f"video,label\n{video},x\nB/v_B_g01_c01.avi,y\n")
    assert says in refused(lambda: stage.main(Workspace()))
    assert sorted(path.name for path in here.iterdir()) == ["data", "out.avi", "params.yaml"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('"a\nb",r', r"the label a\nb of A/1.avi holds a control character"),
        ("a\x1b[2J,r", r"the label a\x1b[2J of A/1.avi holds a control character"),
        ("run ,r", "the label 'run ' of A/1.avi begins or ends with a space"),
        ("\u00a0run,r", "begins or ends with a space"),
        ("RUN,r", "the labels RUN and run differ only in case: rename one"),
        ("x" * 2000 + ",r", "has 2000 bytes, more than 1024"),
        ("a,r ", "the group 'r ' of A/1.avi begins or ends with a space"),
        ("a,r\x00", "the group"),
        ('a,"r\ns"', r"the group r\ns of A/1.avi holds a control character"),
    ],
)
def test_labels_and_groups_that_nobody_would_see_to_differ(
    row: str, says: str, here: Path, refused: Callable
) -> None:
    Workspace().labels.write_text(f"video,label,group\nA/1.avi,{row}\nA/2.avi,run,r\n")
    assert says in refused(lambda: catalog.read_labels(Workspace().labels))


def test_a_class_folder_is_a_label_like_any_other(here: Path, refused: Callable) -> None:
    (here / "data" / "B").rename(here / "data" / "a")
    assert "data/: the labels A and a differ only in case: rename one" in refused(
        lambda: stage.main(Workspace())
    )
    (here / "data" / "a").rename(here / "data" / "B ")
    assert "the label 'B ' of B /v_B_g01_c01.avi begins or ends" in refused(
        lambda: stage.main(Workspace())
    )
    for odd in (".", "..", "run/walk", "NA", "$a$", "a b"):
        table = pd.DataFrame({"video": ["x.avi"], "label": [odd]})
        names.check(table, "here")


def test_names_of_twenty_thousand_videos_are_checked_in_no_time() -> None:
    videos = [f"class {number % 100}/film {number}.avi" for number in range(20_000)]
    table = pd.DataFrame({"video": videos, "label": "a", "group": videos})
    names.check(table, "here")
    with pytest.raises(UserError, match="film 7.avi and class 7/Film 7.avi differ only in case"):
        names.check_videos([*videos, "class 7/Film 7.avi"], "here")
