import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from kinoflow.config import Explore, Params
from kinoflow.data.clips import ClipStore
from kinoflow.data.exploration import draw_videos
from kinoflow.data.extraction import extract_clip
from kinoflow.video import ClipSpec, Frames, UnreadableVideo, runs, sample
from stages import catalog as cataloging
from stages import explore
from stages.explore_flow import Video, measure
from tests import pages
from tests.media import moving_square, write_video

SETTINGS = Explore(videos_per_class=3, pairs_per_video=3)
HOSTILE = "<script>alert('x')</script> & $\\frac{1$"


def texture(frames: int, height: int = 96, width: int = 128) -> Frames:
    """Smooth noise, the same in every frame."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return np.repeat(cv2.resize(noise, (width, height))[None], frames, axis=0)


def gliding(frames: int, step: int, *, whole: bool) -> Frames:
    """Texture of which everything, or a patch over a quarter of the frame, moves to the right."""
    clip = texture(frames)
    for index in range(frames):
        moved = np.roll(clip[index], step * index, axis=1)
        if whole:
            clip[index] = moved
        else:
            clip[index, 24:72, 32:96] = moved[24:72, 32:96]
    return clip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for number in range(1, 5):
        write_video(folder / "Still" / f"v_Still_g0{number}_c01.avi", texture(8))
        write_video(folder / "Fast" / f"v_Fast_g0{number}_c01.avi", gliding(8, 2, whole=False))
        write_video(folder / "Pan" / f"v_Pan_g0{number}_c01.avi", gliding(8, 2, whole=True))
    write_video(folder / "Still" / "once.avi", texture(1))
    (folder / "Fast" / "broken.avi").write_bytes(b"no video at all")
    return folder


@pytest.fixture(scope="module")
def table(data: Path, defaults: Params) -> pd.DataFrame:
    table = cataloging.examine(cataloging.labelled(data), data, None, defaults.compute)
    table.loc[table["label"] == "Pan", "label"] = HOSTILE
    return table


@pytest.fixture(scope="module")
def store(data: Path, table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    store = ClipStore(tmp_path_factory.mktemp("clips"))
    for video in table.loc[table["readable"], "video"]:
        extract_clip(data / video, ClipSpec(2, 8, 8), store.path(video))
    return store


@pytest.fixture(scope="module")
def report(
    table: pd.DataFrame,
    data: Path,
    store: ClipStore,
    tmp_path_factory: pytest.TempPathFactory,
    defaults: Params,
) -> tuple[pd.DataFrame, Path]:
    """What the stage returns, and the folder of its files."""
    folder = tmp_path_factory.mktemp("report")
    return explored(table, data, store, folder, defaults), folder


def explored(
    table: pd.DataFrame, data: Path, store: ClipStore, folder: Path, defaults: Params
) -> pd.DataFrame:
    return explore.explore(
        table, data, store, folder, settings=SETTINGS, seed=7, compute=defaults.compute
    )


def test_motion_is_ranked_and_in_its_unit(report: tuple[pd.DataFrame, Path]) -> None:
    classes = report[0].set_index("label").to_dict("index")
    # 2 of 128 pixels at 25 frames a second: 39 % of the width, over a quarter of the frame or all
    assert next(iter(classes)) == "Fast"
    assert classes["Fast"]["motion"] == pytest.approx(39 / 4, rel=0.3)
    assert classes[HOSTILE]["flow"] == pytest.approx(39, rel=0.15)
    assert classes[HOSTILE]["motion"] < 6  # it is the camera that moves
    assert classes["Still"]["flow"] < 0.5
    assert list(classes)[-1] == "Still"


def test_padding_is_no_colour(data: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    drawn = table[table["video"] == "Still/once.avi"]
    shares = []
    for spec in (ClipSpec(1, 8, 8), ClipSpec(16, 8, 8, padding="mask")):
        store = ClipStore(tmp_path)
        extract_clip(data / "Still/once.avi", spec, store.path("Still/once.avi"))
        shares.append(explore.histograms(drawn, store)["Still"])
    np.testing.assert_array_equal(shares[0], shares[1])


def test_the_table_counts_what_there_is(report: tuple[pd.DataFrame, Path]) -> None:
    summary, folder = report
    classes = summary.set_index("label").to_dict("index")
    counted = {name: [row["videos"], row["groups"]] for name, row in classes.items()}
    assert counted == {"Fast": [4, 4], HOSTILE: [4, 4], "Still": [5, 5]}
    assert (classes["Fast"]["set_aside"], classes["Fast"]["measured"]) == (1, 3)
    written = pd.read_csv(folder / "per_class.csv")
    assert list(written["label"]) == list(summary["label"])
    assert written["motion"].to_numpy() == pytest.approx(summary["motion"].to_numpy(), abs=1e-3)


def test_the_page_stands_alone_and_escapes_what_users_wrote(
    report: tuple[pd.DataFrame, Path],
) -> None:
    text = (report[1] / "index.html").read_text()
    assert pages.faults(text) == []
    assert HOSTILE in pages.shown(text)
    pictures = re.findall(
        r'<img alt="[^"]+" src="data:image/(?:svg\+xml|jpeg);base64,[\w/+=]+">', text
    )
    assert len(pictures) == text.count("<img") >= 4 + 3
    # each drawn figure has a form for dark pages
    drawn = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', text)
    assert len(drawn) == 4
    assert all(b"prefers-color-scheme:dark" in base64.b64decode(figure) for figure in drawn)
    assert "@media (prefers-color-scheme: dark)" in text
    assert (report[1] / "index.html").stat().st_size < 1_000_000
    assert "Fast/broken.avi" in text
    assert "it is no video" in text


def test_the_same_data_give_the_same_bytes(
    report: tuple[pd.DataFrame, Path],
    data: Path,
    table: pd.DataFrame,
    store: ClipStore,
    tmp_path: Path,
    defaults: Params,
) -> None:
    explored(table.sample(frac=1, random_state=1), data, store, tmp_path, defaults)
    for name in ("index.html", "per_class.csv"):
        assert (tmp_path / name).read_bytes() == (report[1] / name).read_bytes()


def test_the_choice_is_by_seed_and_takes_all_groups_before_one_twice() -> None:
    rows = [(f"{g}-{n}.avi", "A", str(g), True) for g in range(4) for n in range(50)]
    table = pd.DataFrame(rows, columns=["video", "label", "group", "readable"])
    chosen = draw_videos(table, 4, 7)
    assert sorted(chosen["group"]) == ["0", "1", "2", "3"]
    assert draw_videos(table, 4, 7).equals(chosen)
    assert not draw_videos(table, 4, 8)["video"].equals(chosen["video"])
    others = pd.concat([table, table.assign(label="B", video="B" + table["video"])])
    assert draw_videos(others, 4, 7).query("label == 'A'").equals(chosen)


def test_runs_are_consecutive_frames(tmp_path: Path) -> None:
    video = write_video(tmp_path / "x.avi", moving_square(10))
    every = sample(video, ClipSpec(10, 48, 64))
    found = list(runs(video, {0, 1, 6}, ClipSpec(3, 48, 64)))
    assert len(found) == 3
    for start, run in zip((0, 1, 6), found, strict=True):
        np.testing.assert_array_equal(run, every[start : start + 3])
    assert next(runs(video, [2], ClipSpec(2, 12, 16))).shape == (2, 12, 16, 3)
    with pytest.raises(UnreadableVideo, match="ends after 10 frames"):
        list(runs(video, {9}, ClipSpec(3, 48, 64)))


def test_real_classes_differ_in_motion(real_data: Path) -> None:
    motion = {}
    for label in ("Punch", "YoYo"):
        paths = sorted((real_data / "ucf101-mini" / label).glob("*.avi"))[:16:2]
        pair = ClipSpec(2, 120, 160)
        measured = [measure(Video(path.name, path, 50, 25.0, pair, 3, False)) for path in paths]
        motion[label] = np.median([flow.residual for flow in measured])
    assert motion["Punch"] > 1.5 * motion["YoYo"] > 1
