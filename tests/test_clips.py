"""The clip store, as those see it who read clips."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kinoflow.data import clips, tables
from kinoflow.data.clips import ClipSet, ClipStore, DamagedClip
from kinoflow.system import files
from kinoflow.system.imports import imported
from kinoflow.workspace import Workspace
from tests.conftest import ROOT


@pytest.fixture
def clip() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)


def stored(folder: Path, video: str, clip: np.ndarray) -> ClipStore:
    store = ClipStore(folder)
    store.path(video).parent.mkdir(parents=True, exist_ok=True)
    np.save(store.path(video), clip)
    return store


def test_both_readers_give_what_was_stored(tmp_path: Path, clip: np.ndarray) -> None:
    store = stored(tmp_path / "clips", "Run/a.avi", clip)
    for read in (store.read("Run/a.avi"), store.memmap("Run/a.avi")):
        np.testing.assert_array_equal(read, clip)
        assert read.dtype == np.uint8
        with pytest.raises(ValueError, match="read-only"):
            read[0] = 0  # nobody changes a clip for others


def test_clips_are_read_by_threads_side_by_side(tmp_path: Path) -> None:
    # numpy's own reader fails here on Python 3.11 and 3.12, while garbage is collected
    kept = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    np.save(ClipStore(tmp_path).path("a.avi"), kept)
    clipset = ClipSet(tmp_path, ("a.avi",), np.zeros(1, np.int64))
    rows = np.zeros(500, np.int64)
    before, interval = gc.get_threshold(), sys.getswitchinterval()

    def collecting(*_: object) -> None:
        sum(range(200))

    gc.callbacks.append(collecting)
    try:
        gc.set_threshold(5)
        sys.setswitchinterval(1e-6)
        with ThreadPoolExecutor(4) as pool:
            for read in pool.map(clipset.read, [rows] * 4):
                assert (read == kept).all()
    finally:
        gc.callbacks.remove(collecting)
        gc.set_threshold(*before)
        sys.setswitchinterval(interval)


def test_what_is_no_clip_is_named_with_what_to_do(tmp_path: Path, clip: np.ndarray) -> None:
    store = stored(tmp_path, "a.avi", clip)
    path = store.path("a.avi")
    whole = path.read_bytes()
    for content in (b"", whole[:40], whole[:-1], whole + b"x", b"no array"):
        path.write_bytes(content)
        with pytest.raises(DamagedClip, match=r"a\.avi\.npy holds no clip: delete it, and `dvc re"):
            store.read("a.avi")
    for other in (np.zeros(3, np.uint8), np.zeros((2, 4, 6, 3)), clip[..., :1]):
        np.save(path, other)
        with pytest.raises(DamagedClip, match="holds no clip"):
            ClipSet(tmp_path, ("a.avi",), np.zeros(1, np.int64)).read(np.zeros(1, np.int64))
    # memmap leaves it to validation to judge shapes and types, but not what is no array
    np.save(path, np.zeros(3))
    assert store.memmap("a.avi").shape == (3,)
    # a header that Python's tokenizer, which NumPy falls back on, gives up on
    for content in (b"", whole[:40], whole[:-1], whole.replace(b"}", b" "), b"no array"):
        path.write_bytes(content)
        with pytest.raises(DamagedClip, match="holds no clip"):
            store.memmap("a.avi")


def test_a_clip_that_is_not_there_is_a_missing_file(tmp_path: Path) -> None:
    for read in (ClipStore(tmp_path).read, ClipStore(tmp_path).memmap):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.avi\.npy"):
            read("nowhere.avi")


def test_records_lie_beside_the_clips_where_dvc_looks_for_them(tmp_path: Path) -> None:
    store = ClipStore(Workspace(tmp_path).clips)
    assert store.records_path == Workspace(tmp_path).clips_table
    assert store.records().empty
    assert list(store.records()) == ["video", "md5", "spec"]
    table = pd.DataFrame({"video": ["NA", "1e3"], "md5": ["0" * 32, "007"], "spec": ["", "x"]})
    store.write_records(table)
    assert store.records().to_dict("list") == table.to_dict("list")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Four clips of two classes on three sides of the split."""
    workspace = Workspace(tmp_path)
    table = pd.DataFrame({"video": ["a", "b", "c", "d"], "label": ["walk", "run", "walk", "run"]})
    known: dict[str, Any] = {
        "frames": 9,
        "fps": 25.0,
        "seconds": 1.0,
        "width": 8,
        "height": 8,
        "bytes": 1,
    }
    known |= {"group": table["video"], "codec": "", "readable": True, "problem": ""}
    known |= {"md5": table["video"] * 32}
    tables.write(table.assign(**known), workspace.catalog, tables.CATALOG)
    sides = table.assign(split=["train", "train", "val", "test"], group=["g", "g", "h", "i"])
    tables.write(sides.iloc[::-1], workspace.split, tables.SPLIT)
    ClipStore(workspace.clips).write_records(table.assign(md5=known["md5"], spec="2x8x8 here"))
    return workspace


def test_a_class_index_is_the_same_on_every_side(workspace: Workspace) -> None:
    labels, sets = clips.load_sets(workspace, ("train", "test"))
    assert labels == ("run", "walk")
    assert sets.keys() == {"train", "test"}
    assert (sets["train"].videos, sets["train"].labels.tolist()) == (("b", "a"), [0, 1])
    assert (sets["test"].videos, sets["test"].labels.tolist()) == (("d",), [0])


def test_the_md5_of_the_data_is_that_of_older_bundles_and_tells_changes(
    workspace: Workspace,
) -> None:
    first = clips.data_md5(workspace)
    assert first == "61032a04a3045fdfea73ba72d670e587"
    store = ClipStore(workspace.clips)
    store.write_records(store.records().assign(spec="2x8x8 elsewhere"))
    assert clips.data_md5(workspace) != first
    store.write_records(store.records().assign(spec="2x8x8 here"))
    assert clips.data_md5(workspace) == first
    for column, value in (("split", "test"), ("group", "j")):
        text = workspace.split.read_text(encoding="utf-8")
        table = tables.read(workspace.split, tables.SPLIT)
        table.loc[0, column] = "val" if table.loc[0, column] == value else value
        tables.write(table, workspace.split, tables.SPLIT)
        assert clips.data_md5(workspace) != first
        files.write_text(workspace.split, text)
    assert clips.data_md5(workspace) == first


def test_reading_clips_depends_on_no_decoder_and_no_check_of_names() -> None:
    packages = [path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()]
    decoding = {"kinoflow.video.decoder", "kinoflow.video.frames", "kinoflow.data.extraction"}
    for stage in ("duplicates", "split", "leaks", "validate"):
        assert not decoding & imported([f"stages.{stage}"], packages), stage
    for stage in ("catalog", "extract", "explore"):
        assert "kinoflow.video.decoder" in imported([f"stages.{stage}"], packages), stage
    # nor does a word about a bad name or a bad labels.csv train anything anew
    naming = {"kinoflow.data.names", "kinoflow.data.catalog"}
    assert naming <= imported(["stages.catalog"], packages)
    for stage in ("extract", "duplicates", "leaks", "validate", "train", "evaluate"):
        assert not naming & imported([f"stages.{stage}"], packages), stage
