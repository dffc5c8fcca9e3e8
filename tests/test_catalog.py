from pathlib import Path

import pandas as pd
import pytest

from kinoflow.config import Params
from kinoflow.data import catalog, tables
from kinoflow.system.errors import UserError
from stages import catalog as stage
from tests.media import footage, moving_square, write_video


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return footage(tmp_path_factory.mktemp("data"), groups=2)


def test_labels_and_groups_come_from_folders_and_names(data: Path) -> None:
    table = stage.labelled(data)
    assert len(table) == 8
    assert list(table["label"].unique()) == ["A", "B"]
    assert list(table["group"].unique()) == ["v_A_g01", "v_A_g02", "v_B_g01", "v_B_g02"]


def test_a_video_of_another_name_is_its_own_group(tmp_path: Path) -> None:
    write_video(tmp_path / "A" / "holiday.avi", moving_square(3))
    write_video(tmp_path / "B" / "holiday.avi", moving_square(3))
    assert list(stage.labelled(tmp_path)["group"]) == ["A/holiday.avi", "B/holiday.avi"]


def test_labels_csv_overrules_folders(tmp_path: Path, data: Path) -> None:
    for name in ("1.avi", "2.avi"):
        write_video(tmp_path / "x" / name, moving_square(3))
    (tmp_path / "labels.csv").write_text("video,label,group\nx/1.avi,run,r1\nx/2.avi,walk,\n")
    table = stage.labelled(tmp_path)
    assert list(table["label"]) == ["run", "walk"]
    assert list(table["group"]) == ["r1", "x/2.avi"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,label\na.avi,run\n", "no column video"),
        ("video,label\na.avi,\n", "line 2: no label"),
        ("video,label\na.avi,run\na.avi,walk\n", "lists a.avi twice"),
        ("video,label\nlabels.csv,run\n", "lists itself as a video"),
        ("", "cannot be read as a table"),
        ("video;label\na.avi;run\n", "no column label, video .*: separate columns by commas"),
        ("video,label\na.avi,run,\n", "line 2: more fields than the first"),
        ("video,label\na.avi,run\nb.avi,run,x\n", "cannot be read as a table"),
        ('video,label\n"a.avi,run\n', "cannot be read as a table"),
    ],
)
def test_a_bad_labels_csv_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=says):
        catalog.read_labels(tmp_path / "labels.csv")


def test_a_labels_csv_as_spreadsheets_save_it(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("video,label\r\nü.avi,run\r\n".encode("utf-8-sig"))
    assert catalog.read_labels(path).to_dict("list") == {"video": ["ü.avi"], "label": ["run"]}
    for encoding in ("latin1", "utf-16"):
        path.write_bytes("video,label\r\nü.avi,run\r\n".encode(encoding))
        with pytest.raises(UserError, match="is not UTF-8 text"):
            catalog.read_labels(path)


def test_no_video_one_class_and_loose_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no videos"):
        stage.labelled(tmp_path)
    write_video(tmp_path / "A" / "1.avi", moving_square(3))
    with pytest.raises(UserError, match="all 1 videos are labelled A"):
        stage.labelled(tmp_path)
    write_video(tmp_path / "2.avi", moving_square(3))
    with pytest.raises(UserError, match=r"2\.avi lies in no class folder"):
        stage.labelled(tmp_path)


def labels_of(folder: Path, *videos: str) -> dict:
    for video in videos:
        (folder / video).parent.mkdir(parents=True, exist_ok=True)
        (folder / video).touch()
    return stage.labelled(folder).set_index("video")["label"].to_dict()


@pytest.mark.parametrize(
    "sides", [("train", "val", "test"), ("Training", "validation"), ("train", "valid", "testing")]
)
def test_folders_of_published_sides_are_no_classes(tmp_path: Path, sides: tuple[str, ...]) -> None:
    videos = [f"{side}/{label}/x.avi" for side in sides for label in ("run", "test")]
    videos.append(f"{sides[0]}/run/deep/y.avi")
    assert labels_of(tmp_path, *videos) == {video: video.split("/")[1] for video in videos}


def test_a_class_may_be_called_like_a_side(tmp_path: Path) -> None:
    for name, others in {"beside": "walk/x.avi", "deep": "walk/deep/x.avi"}.items():
        labels = labels_of(tmp_path / name, "test/1.avi", "test/deep/2.avi", others)
        assert set(labels.values()) == {"test", "walk"}
    assert "labels.csv" in labels_of(tmp_path / "odd", "labels.csv/1.avi", "test/2.avi").values()
    assert set(labels_of(tmp_path / "flat", "test/1.avi", "train/2.avi").values()) == {
        "test",
        "train",
    }


def test_a_video_beside_the_classes_of_a_side_is_refused(tmp_path: Path) -> None:
    says = r"test/1\.avi lies in no class folder: put it in one, as in test/"
    with pytest.raises(UserError, match=says):
        labels_of(tmp_path, "train/A/1.avi", "train/B/1.avi", "test/1.avi")


def test_catalog_tells_what_files_hold_and_sets_bad_ones_aside(
    tmp_path: Path, defaults: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    footage(tmp_path, groups=2)
    (tmp_path / "A" / "broken.avi").write_bytes(b"no video at all")
    table = stage.examine(stage.labelled(tmp_path), tmp_path, None, defaults.compute)

    good = table[table["readable"]]
    assert len(good) == 8
    assert (good["frames"] == 12).all()
    assert (good["seconds"] == 0.48).all()
    assert good["md5"].nunique() == 8
    bad = table[~table["readable"]].iloc[0]
    assert bad["video"] == "A/broken.avi"
    assert "no video" in bad["problem"]

    stage.check_readable(table, 0.2)
    assert "A/broken.avi is set aside: it is no video" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"1 of 9 videos do not decode.*A/broken\.avi"):
        stage.check_readable(table, 0.1)

    path = tmp_path / "catalog.csv"
    tables.write(table, path, tables.CATALOG)
    pd.testing.assert_frame_equal(
        tables.read(path, tables.CATALOG), table[list(tables.CATALOG.columns)]
    )


def test_known_files_are_not_decoded_again(
    tmp_path: Path, defaults: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    footage(tmp_path, groups=2)
    before = stage.examine(stage.labelled(tmp_path), tmp_path, None, defaults.compute)
    write_video(tmp_path / "A" / "new.avi", moving_square(5))
    decoded: list[str] = []

    def count(function: object, tasks: list, *_: object, failed: object) -> list:
        decoded.extend(task.path.name for task in tasks)
        return [stage._examine_one(task) for task in tasks]

    monkeypatch.setattr(stage, "spread", count)
    after = stage.examine(stage.labelled(tmp_path), tmp_path, before, defaults.compute)
    assert decoded == ["new.avi"]
    assert len(after) == 9
    assert after.loc[after["video"] == "A/new.avi", "frames"].item() == 5


def test_what_was_set_aside_for_its_bounds_is_tried_again(tmp_path: Path, defaults: Params) -> None:
    footage(tmp_path, groups=1, clips=1)
    hasty = defaults.compute.model_copy(update={"timeout_s": 0.001})
    before = stage.examine(stage.labelled(tmp_path), tmp_path, None, hasty)
    assert set(before["problem"]) == {"it took longer than 0.001 s"}
    after = stage.examine(stage.labelled(tmp_path), tmp_path, before, defaults.compute)
    assert after["readable"].all()
