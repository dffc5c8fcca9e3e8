"""What the catalog's pass keeps changes no file that the stages write, and is gone afterwards."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from kinoflow import config
from kinoflow.config import Params
from kinoflow.data import scratch
from kinoflow.data.clips import ClipStore
from kinoflow.data.scratch import Scratch, clip_key
from kinoflow.system import files
from kinoflow.system.cluster import spread
from kinoflow.video import ClipSpec, Frames, runs, sample
from kinoflow.workspace import Workspace
from stages import catalog, explore, explore_flow, extract
from stages.catalog_kept import Keeping
from tests.conftest import ROOT
from tests.media import footage, moving_square, write_video

SPEC = ClipSpec(4, 16, 24)
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def workspace(root: Path, data: Path, spec: ClipSpec = SPEC, **sections: Any) -> Workspace:
    """A work tree with these videos and one process to decode them."""
    work = Workspace(root)
    root.mkdir(parents=True, exist_ok=True)
    values = config.load(ROOT / "params.yaml").model_dump(mode="json")
    values["clip"] = vars(spec)
    values["compute"] |= {"workers": 1, "memory_mb": 512}
    values["catalog"] = {"max_unreadable": 1}
    values["candidates"] = {"lrcn": {"model": "lrcn", "frames": 2, "height": 8, "width": 8}}
    files.write_json(work.params, values | sections)  # JSON is YAML
    if not work.data.exists():
        work.data.symlink_to(data.absolute())
    return work


def written(work: Workspace) -> dict[str, str]:
    found = {
        path.relative_to(work.root).as_posix(): files.md5(path)
        for folder in (work.work, work.reports)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    assert {"work/catalog.csv", "work/clips.csv"} <= found.keys()
    return found


def ingest(work: Workspace, *, keeping: bool, exploring: bool = True) -> dict[str, str]:
    catalog.main(work)
    if not keeping:
        shutil.rmtree(work.work / "scratch", ignore_errors=True)
    extract.main(work)
    if exploring:
        explore.main(work)
    else:
        shutil.rmtree(work.work / "scratch", ignore_errors=True)
    return written(work)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The videos that `extract` and `explore` decode, as they come."""
    found: list[str] = []

    def note(function: Any, tasks: list[Any], *more: Any, **options: Any) -> Iterator[Any]:
        found.extend(task.video for task in tasks)
        return spread(function, tasks, *more, **options)

    def note_pairs(path: Path, *more: Any) -> Iterator[Frames]:
        found.append(path.name)
        return runs(path, *more)

    def here(function: Any, tasks: list[Any], *_: Any, **__: Any) -> Iterator[Any]:
        return map(function, tasks)

    monkeypatch.setattr(extract, "spread", note)
    monkeypatch.setattr(explore, "spread", here)
    monkeypatch.setattr(explore_flow, "runs", note_pairs)
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of which some are short, damaged, cut off, twice there or no videos at all."""
    folder = footage(tmp_path_factory.mktemp("data"), groups=2)
    write_video(folder / "A" / "once.avi", moving_square(1))
    write_video(folder / "A" / "short.avi", moving_square(3))
    write_video(folder / "B" / "large.avi", moving_square(20, 240, 320))
    shutil.copy(folder / "A" / "v_A_g01_c01.avi", folder / "B" / "copy.avi")
    whole = (folder / "A" / "v_A_g01_c02.avi").read_bytes()
    (folder / "B" / "cut.avi").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray((folder / "A" / "v_A_g02_c02.avi").read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 200] = b"\xff" * 200
    (folder / "B" / "damaged.avi").write_bytes(damaged)
    (folder / "B" / "none.avi").write_bytes(b"no video at all")
    return folder


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        ClipSpec(16, 64, 64, padding="mask"),
        replace(SPEC, sampling="segment"),
        replace(SPEC, sampling="motion"),
    ],
    ids=["uniform", "mask", "segment", "motion"],
)
def test_the_same_files_come_out_whether_frames_are_kept_or_not(
    tmp_path: Path, data: Path, spec: ClipSpec
) -> None:
    # what explore writes does not depend on the spec, apart from colours
    exploring = spec == SPEC
    kept, other = (
        ingest(workspace(tmp_path / name, data, spec), keeping=name == "kept", exploring=exploring)
        for name in ("kept", "decoded")
    )
    assert kept == other
    assert ("reports/explore/index.html" in kept) == exploring
    # nothing else is left behind
    assert not any("scratch" in path or ".partial" in path for path in kept)


def test_the_same_files_come_out_of_real_videos(tmp_path: Path, real_data: Path) -> None:
    data = tmp_path / "videos"
    shutil.copytree(real_data / "odd-videos", data / "Odd")
    for label in ("Punch", "YoYo"):
        (data / label).mkdir()
        for path in sorted((real_data / "ucf101-mini" / label).iterdir())[:3]:
            shutil.copy(path, data / label)
    spec = ClipSpec(32, 64, 64)
    kept = ingest(workspace(tmp_path / "kept", data, spec), keeping=True)
    assert kept == ingest(workspace(tmp_path / "decoded", data, spec), keeping=False)


def cataloged(root: Path, **changes: Any) -> Workspace:
    """A work tree with six videos, two of one content, and what the catalog's pass kept."""
    videos = root / "videos"
    footage(videos, groups=1)
    write_video(videos / "A" / "odd.avi", moving_square(7))
    shutil.copy(videos / "A" / "v_A_g01_c01.avi", videos / "B" / "copy.avi")
    work = workspace(root / "tree", videos, **changes)
    catalog.main(work)
    return work


def stored_clips_are_right(work: Workspace, spec: ClipSpec = SPEC) -> None:
    table = ClipStore(work.clips).records()
    assert len(table) == 6
    for video in table["video"]:
        np.testing.assert_array_equal(
            ClipStore(work.clips).read(video), sample(work.data / video, spec)
        )


def test_what_was_kept_is_not_decoded_again(tmp_path: Path, decoded: list[str]) -> None:
    work = cataloged(tmp_path)
    extract.main(work)
    explore.main(work)
    assert decoded == []
    stored_clips_are_right(work)
    assert not (work.work / "scratch").exists()
    # and what was not kept is
    shutil.rmtree(work.clips)
    extract.main(work)
    explore.main(work)
    assert len(decoded) == 6 + 6
    stored_clips_are_right(work)


def test_a_damaged_entry_is_not_used(tmp_path: Path, decoded: list[str]) -> None:
    work = cataloged(tmp_path)
    for kept in (work.scratch_clips, work.scratch_pairs):
        flipped, cut, empty, *_ = sorted(kept.iterdir())
        content = bytearray(flipped.read_bytes())
        content[-1] ^= 1
        flipped.write_bytes(content)
        cut.write_bytes(cut.read_bytes()[:-1])
        empty.write_bytes(b"")
        (kept / ".partial-1-x.npy").write_bytes(b"half a clip")
    extract.main(work)
    assert 3 <= len(decoded) <= 4  # one content may be that of two videos
    explore.main(work)
    assert 6 <= len(decoded) <= 8
    stored_clips_are_right(work)
    assert not (work.work / "scratch").exists()


def test_an_entry_of_other_code_is_not_used(
    tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = cataloged(tmp_path)
    monkeypatch.setattr(scratch, "_code", lambda: "other")
    extract.main(work)
    explore.main(work)
    assert len(decoded) == 6 + 6
    stored_clips_are_right(work)


def test_a_video_that_changed_since_the_catalog_is_decoded(
    tmp_path: Path, decoded: list[str]
) -> None:
    work = cataloged(tmp_path)
    write_video(work.data / "A" / "odd.avi", moving_square(9, seed=5))
    extract.main(work)
    explore.main(work)
    assert decoded == ["A/odd.avi", "odd.avi"]
    stored_clips_are_right(work)


def test_a_video_that_changes_while_it_is_cataloged_is_not_kept(
    tmp_path: Path, defaults: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = workspace(tmp_path / "tree", footage(tmp_path / "videos", groups=1))
    params = config.load(work.params)

    def change(function: Any, tasks: list[Any], *_: Any, **__: Any) -> list[Any]:
        write_video(work.data / "A" / "v_A_g01_c01.avi", moving_square(9, seed=5))
        return [function(task) for task in tasks]

    monkeypatch.setattr(catalog, "spread", change)
    keeping = Keeping.of(work, params)
    table = catalog.examine(catalog.labelled(work.data), work.data, None, params.compute, keeping)
    others = {clip_key(md5, SPEC) for md5 in table["md5"].iloc[1:]}
    assert table["video"].iloc[0] == "A/v_A_g01_c01.avi"
    assert keeping.clips.entries().keys() == others


def test_another_clip_changes_the_clips_alone(tmp_path: Path, decoded: list[str]) -> None:
    assert not {"clip", "explore", "seed"} & {*STAGES["catalog"]["params"]}
    work = cataloged(tmp_path)
    extract.main(work)
    before = work.catalog.read_bytes()
    other = ClipSpec(3, 8, 8, "segment")
    workspace(work.root, work.data, other)
    # the catalog that DVC does not run again
    extract.main(work)
    assert sorted(decoded) == sorted(ClipStore(work.clips).records()["video"])
    stored_clips_are_right(work, other)
    # and if it runs, it writes the same, and keeps nothing of files that it knows
    catalog.main(work)
    assert work.catalog.read_bytes() == before
    assert not (work.work / "scratch").exists()


def test_nothing_is_kept_that_the_store_has(tmp_path: Path) -> None:
    work = cataloged(tmp_path)
    extract.main(work)
    work.catalog.unlink()
    catalog.main(work)
    assert not work.scratch_clips.exists()


def test_what_is_kept_costs_no_video_its_place(tmp_path: Path, defaults: Params) -> None:
    data = footage(tmp_path / "videos", groups=1, clips=1)
    work = workspace(tmp_path / "tree", data, ClipSpec(2, 4000, 5000))
    # to decode takes less than this, to keep two frames of 60 MB takes more
    compute = defaults.compute.model_copy(update={"workers": 1, "memory_mb": 100})
    labelled, keeping = catalog.labelled(data), Keeping.of(work, config.load(work.params))
    table = catalog.examine(labelled, data, None, compute, keeping)
    pd.testing.assert_frame_equal(table, catalog.examine(labelled, data, None, compute))
    assert table["readable"].all()
    assert keeping.clips.entries() == {}


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path, decoded: list[str]) -> None:
    work = Workspace(tmp_path / "tree")
    work.work.mkdir(parents=True)
    (work.work / "scratch").write_text("no folder")
    cataloged(tmp_path)
    extract.main(work)
    assert len(decoded) == 6
    stored_clips_are_right(work)


def test_no_more_is_kept_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_MOST_BYTES", 2 * 4 * 16 * 24 * 3 + 1)
    work = cataloged(tmp_path, explore={"videos_per_class": 1, "pairs_per_video": 1})
    assert len(Scratch(work.scratch_clips).entries()) <= 2
