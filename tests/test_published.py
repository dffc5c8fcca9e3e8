"""From published archives to data/, with miniatures of their true layout on a local server."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kinoflow.config import Dataset, Params
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from stages import download
from stages.sources import hmdb51, ucf50, ucf101
from tests.archives import write_rar, write_zip

PUBLISHED = {
    ucf101: ("UCF101", ucf101.UCF101),
    ucf50: ("UCF50", ucf50.UCF50),
    hmdb51: ("HMDB51", hmdb51.HMDB51),
}


def clip(name: str) -> bytes:
    return name.encode() * 50


def ucf(root: str, classes: list[str], groups: int) -> dict[str, bytes]:
    names = [
        f"{root}/{label}/v_{label}_g{group:02d}_c{number:02d}.avi"
        for label in classes
        for group in range(1, groups + 1)
        for number in (1, 2)
    ]
    return {name: clip(name.rpartition("/")[2]) for name in names}


def film(label: str, number: int) -> str:
    return f"April_09_{label}_u_nm_np1_ba_goo_{number}.avi"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with all archives, and an empty folder to work in."""
    site = tmp_path / "site"
    write_rar(site / "UCF101.rar", ucf("UCF-101", ["PushUps", "YoYo", "Punch"], 3))
    lists = {
        f"ucfTrainTestlist/{side}list{fold:02d}.txt": f"YoYo/v_YoYo_g0{fold}_c01.avi\r\n".encode()
        for side in ("train", "test")
        for fold in (1, 2, 3)
    }
    write_zip(site / "UCF101TrainTestSplits-RecognitionTask.zip", lists)
    write_rar(site / "UCF50.rar", ucf("UCF50", ["Diving", "Drumming"], 25))
    inner = {}
    for label in ("wave", "sit"):
        members = {f"{label}/{film(label, number)}": clip(label) for number in range(4)}
        made = write_rar(tmp_path / "inner.rar", members)
        inner[f"{label}.rar"] = made.read_bytes()
    write_rar(site / "hmdb51_org.rar", inner)
    splits = {
        f"testTrainMulti_7030_splits/{label}_test_split{fold}.txt": "".join(
            f"{film(label, number)} {side} \n" for number, side in enumerate("1120")
        ).encode()
        for label in ("wave", "sit")
        for fold in (1, 2, 3)
    }
    write_rar(site / "test_train_splits.rar", splits)

    for module, (name, published) in PUBLISHED.items():
        small = replace(published, videos=replace(published.videos, size=None))
        monkeypatch.setattr(module, name, small)
    (tmp_path / "work here").mkdir()
    monkeypatch.chdir(tmp_path / "work here")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def bring(defaults: Params, **dataset: Any) -> list[str]:
    params = defaults.model_copy(update={"dataset": Dataset(**dataset)})
    wanted = download.items(params, Workspace().downloads)
    changed = download.sync(wanted, Workspace().data, Workspace().downloaded)
    download.share(wanted, Workspace().data)
    return changed


def test_ucf101_comes_with_its_three_splits(mirror: str, defaults: Params) -> None:
    changed = bring(defaults, source="ucf101", mirror=mirror)
    assert len(changed) == 18 + 6
    path = Workspace().data / "PushUps" / "v_PushUps_g02_c01.avi"
    assert path.read_bytes() == clip("v_PushUps_g02_c01.avi")
    assert {p.name for p in Workspace().lists.iterdir()} == {
        f"{side}list0{fold}.txt" for side in ("train", "test") for fold in (1, 2, 3)
    }
    assert bring(defaults, source="ucf101", mirror=mirror) == []


def test_nothing_is_stored_twice_or_fetched_twice(
    mirror: str, defaults: Params, tmp_path: Path
) -> None:
    bring(defaults, source="ucf101", mirror=mirror)
    assert not list(Workspace().downloads.glob("*.rar"))
    video = Workspace().data / "YoYo" / "v_YoYo_g01_c01.avi"
    (unpacked,) = Workspace().downloads.glob("UCF101-*/UCF-101/YoYo/v_YoYo_g01_c01.avi")
    assert video.samefile(unpacked)
    # DVC puts a link to its cache in the place of what it pins
    with files.replacing(video) as pinned:
        pinned.write_bytes(unpacked.read_bytes())
    assert not video.samefile(unpacked)
    # another choice of classes needs no server, and shares what is pinned
    shutil.rmtree(tmp_path / "site")
    changed = bring(defaults, source="ucf101", mirror=mirror, classes=["YoYo", "Punch"])
    assert sorted({name.partition("/")[0] for name in changed}) == ["PushUps"]
    assert video.samefile(unpacked)


def test_hmdb51_is_unpacked_twice_over_and_split_by_its_lists(
    mirror: str, defaults: Params
) -> None:
    import pandas as pd

    from kinoflow.data.catalog import group_of
    from stages.split_published import read_lists

    changed = bring(defaults, source="hmdb51", mirror=mirror)
    assert len(changed) == 8 + 6
    assert not list(Workspace().data.rglob("*.rar"))
    videos = pd.Series([f"wave/{film('wave', number)}" for number in range(4)])
    sides = read_lists(Workspace().lists, 2, videos)
    assert list(videos.map(sides).fillna("")) == ["train", "train", "test", ""]
    assert group_of(videos[3]) == "April_09_wave"
    with pytest.raises(UserError, match=r"split\.fold 4: the lists in .* are those of 1, 2, 3"):
        read_lists(Workspace().lists, 4, videos)


def test_a_folder_with_lists_of_either_kind_will_do(
    mirror: str, defaults: Params, tmp_path: Path
) -> None:
    for source in ("ucf101", "hmdb51"):
        bring(defaults, source=source, mirror=mirror)
        Workspace().data.rename(tmp_path / source)
        folder = tmp_path / source
        changed = bring(defaults, source="folder", path=str(folder), lists=folder / ".lists")
        assert sum(name.startswith(".lists/") for name in changed) == 6
        shutil.rmtree(Workspace().data)
    with pytest.raises(UserError, match=r"holds neither .*trainlistNN\.txt"):
        bring(defaults, source="folder", path=str(folder), lists=tmp_path)


def test_ucf50_holds_out_a_group_of_every_class(mirror: str, defaults: Params) -> None:
    import pandas as pd

    from kinoflow.data.catalog import group_of
    from stages.split import divide

    bring(defaults, source="ucf50", mirror=mirror)
    names = sorted(
        p.relative_to(Workspace().data).as_posix() for p in Workspace().data.rglob("*.avi")
    )
    table = pd.DataFrame({"video": names, "readable": True})
    table["label"] = table["video"].str.partition("/")[0]
    table["group"] = table["video"].map(group_of)
    assert len(table) == 100
    held: list[str] = []
    for fold in range(1, 26):
        params = defaults.split.model_copy(update={"method": "leave_one_group_out", "fold": fold})
        result = divide(table, params, 7, Workspace().data)
        test = result.loc[result["split"] == "test"]
        assert set(test["group"]) == {f"v_Diving_g{fold:02d}", f"v_Drumming_g{fold:02d}"}
        held += list(test["video"])
    assert sorted(held) == names
    params = params.model_copy(update={"fold": 26})
    with pytest.raises(UserError, match=r"no group has this number; there are 1 to 25"):
        divide(table, params, 7, Workspace().data)
    with pytest.raises(UserError, match="has none"):
        divide(table.assign(group="kitchen"), params, 7, Workspace().data)
    with pytest.raises(UserError, match="for UCF-50, which has no lists, use leave_one_group_out"):
        divide(table, params.model_copy(update={"method": "official"}), 7, Workspace().data)


def test_archives_at_hand_are_used_and_kept(mirror: str, defaults: Params, tmp_path: Path) -> None:
    site = tmp_path / "site"
    changed = bring(defaults, source="ucf50", path=str(site), mirror="http://127.0.0.1:9/")
    assert len(changed) == 100
    assert (site / "UCF50.rar").exists()
    with pytest.raises(UserError, match=r"does not hold hmdb51_org\.rar"):
        bring(defaults, source="hmdb51", path=str(tmp_path))


def test_an_archive_of_another_size_than_published_is_refused(
    mirror: str, defaults: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sized = replace(ucf50.UCF50, videos=replace(ucf50.UCF50.videos, size=3_233_554_570))
    monkeypatch.setattr(ucf50, "UCF50", sized)
    with pytest.raises(UserError, match=r"should have 3,233,554,570"):
        bring(defaults, source="ucf50", mirror=mirror)
    with pytest.raises(UserError, match=r"should have 3,233,554,570: fetch it again"):
        bring(defaults, source="ucf50", path=str(tmp_path / "site"))
    assert not Workspace().data.exists()
    assert (tmp_path / "site" / "UCF50.rar").exists()


@pytest.mark.parametrize("remote", [False, True])
def test_the_users_own_archive(mirror: str, defaults: Params, tmp_path: Path, remote: bool) -> None:
    members = {
        "footage/2026/run/a.mp4": clip("a"),
        "footage/2026/walk/b.mp4": clip("b"),
        "footage/2026/readme.txt": b"hello",
    }
    archive = write_zip(tmp_path / "site" / "mine.zip", members)
    where = f"{mirror}mine.zip" if remote else str(archive)
    assert bring(defaults, source="archive", path=where) == ["run/a.mp4", "walk/b.mp4"]
    assert archive.exists()
    assert bring(defaults, source="archive", path=where) == []


def test_what_a_mac_packs_beside_the_videos_is_no_class(
    defaults: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    members = {
        "footage/run/a.mp4": clip("a"),
        "footage/walk/b.mp4": clip("b"),
        "footage/.DS_Store": b"x",
        "__MACOSX/footage/run/._a.mp4": b"x",
    }
    archive = write_zip(tmp_path / "mine.zip", members)
    assert bring(defaults, source="archive", path=str(archive)) == ["run/a.mp4", "walk/b.mp4"]


def test_an_archive_without_videos_is_named(
    defaults: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    archive = write_zip(tmp_path / "mine.zip", {"readme.txt": b"hello"})
    with pytest.raises(UserError, match=f"dataset.path {archive} holds no videos"):
        bring(defaults, source="archive", path=str(archive))
    with pytest.raises(UserError, match=r"s3://films/a\.zip: an archive is taken from a path"):
        bring(defaults, source="archive", path="s3://films/a.zip")


def test_a_subset_of_classes_and_clips(mirror: str, defaults: Params) -> None:
    changed = bring(
        defaults, source="ucf101", mirror=mirror, classes=["YoYo", "Punch"], clips_per_class=4
    )
    videos = [name for name in changed if not name.startswith(".")]
    assert sorted(videos) == [
        f"{label}/v_{label}_{rest}.avi"
        for label in ("Punch", "YoYo")
        # both clips of the first recording, since there are but three
        for rest in ("g01_c01", "g01_c02", "g02_c01", "g03_c01")
    ]
    with pytest.raises(UserError, match=r"no class 'Yoyo'; the nearest of its 3 are YoYo"):
        bring(defaults, source="ucf101", mirror=mirror, classes=["Yoyo", "Punch"])


def test_a_subset_cuts_labels_csv_as_well(defaults: Params, tmp_path: Path) -> None:
    from kinoflow.data import catalog

    rows = [("1.avi", "run", "a"), ("2.avi", "run", "a"), ("3.avi", "run", "b")]
    rows += [("4.avi", "walk", ""), ("5.avi", "walk", ""), ("6.avi", "sit", "")]
    source = tmp_path / "mine"
    source.mkdir()
    for name, *_ in rows:
        (source / name).write_bytes(clip(name))
    lines = ["video,label,group", *(",".join(row) for row in rows)]
    (source / "labels.csv").write_text("\n".join(lines) + "\n")
    values: dict[str, Any] = {"source": "folder", "path": str(source), "classes": ["run", "walk"]}
    wanted = download.items(
        defaults.model_copy(update={"dataset": Dataset(**values, clips_per_class=2)}),
        Workspace().downloads,
    )
    download.sync(wanted, tmp_path / "data", tmp_path / "manifest.json")
    table = catalog.read_labels(tmp_path / "data" / "labels.csv")
    assert list(table["video"]) == ["1.avi", "3.avi", "4.avi", "5.avi"]
    assert {path.name for path in (tmp_path / "data").glob("*.avi")} == set(table["video"])
