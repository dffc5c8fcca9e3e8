from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from kinoflow.config import Params
from kinoflow.data import fingerprints
from kinoflow.data.clips import ClipStore
from kinoflow.video import Frames, frame_indices
from stages import duplicates


def film(seed: int, frames: int = 60) -> Frames:
    """uint8 (frames, 64, 64, 3): a few soft shapes that wander over a soft background."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (9, 9, 3)).astype(np.float32)
    scene = cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC).clip(0, 255)
    start, speed = rng.uniform(10, 54, (3, 2)), rng.uniform(-0.4, 0.4, (3, 2))
    colours = rng.uniform(0, 255, (3, 3))
    shots = []
    for time in range(frames):
        shot = scene.astype(np.uint8).copy()
        for centre, colour in zip(start + speed * time, colours, strict=True):
            cv2.circle(shot, tuple(int(x) for x in centre), 8, colour.tolist(), -1, cv2.LINE_AA)
        shots.append(shot)
    return np.stack(shots)


def jpeg(shot: Frames) -> Frames:
    small = cv2.resize(shot, (40, 40), interpolation=cv2.INTER_AREA)
    _, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 30])
    decoded = cv2.imdecode(content, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(cv2.resize(decoded, (64, 64)), np.uint8)


COPIES = {
    "the same": lambda whole: whole,
    "its first half": lambda whole: whole[: len(whole) // 2],
    "its middle": lambda whole: whole[len(whole) // 3 : 2 * len(whole) // 3],
    "brighter": lambda whole: np.clip(whole * 1.2 + 8, 0, 255).astype(np.uint8),
    "small and badly encoded": lambda whole: np.stack([jpeg(shot) for shot in whole]),
    "at half the rate": lambda whole: whole[::2],
    "mirrored": lambda whole: whole[:, :, ::-1],
}


def store(folder: Path, films: dict[str, Frames]) -> pd.DataFrame:
    for name, whole in films.items():
        path = ClipStore(folder).path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, whole[frame_indices(len(whole), 16)])
    table = pd.DataFrame({"video": list(films), "readable": True})
    return table.assign(group=table["video"].str.partition("_")[0])


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_in_another_group_is_found(copy: str, defaults: Params, tmp_path: Path) -> None:
    films = {f"g{seed}_a.avi": film(seed) for seed in range(12)}
    films["copy_a.avi"] = COPIES[copy](film(3))
    found = duplicates.find(store(tmp_path, films), ClipStore(tmp_path), defaults.duplicates)
    assert list(found["video"]) == ["g3_a.avi"]
    assert list(found["other"]) == ["copy_a.avi"]
    assert list(found["other_group"]) == ["copy"]
    assert list(found["mirrored"]) == [copy == "mirrored"]


@pytest.mark.parametrize("most", [10, 14, 15, 16, 18])
def test_near_is_by_the_median_frame_in_the_better_direction(most: int) -> None:
    rng = np.random.default_rng(0)
    others = np.full((16, 2500), rng.integers(0, 2**63, dtype=np.uint64))
    # bits flipped at random, a quarter of all: the nearest frame is about 10 bits away
    for bit in range(63):
        others ^= (rng.random(others.shape) < 0.25).astype(np.uint64) << np.uint64(bit)
    bits = np.bitwise_count(others[:, 0][None, :, None] ^ others.T[:, None, :])
    medians = [np.median(bits.min(axis=axis), axis=1) for axis in (1, 2)]
    expected = np.flatnonzero(np.minimum(*medians) <= most)
    np.testing.assert_array_equal(fingerprints.near(others[:, 0], others, most), expected)


def test_clips_of_one_group_are_no_finding(defaults: Params, tmp_path: Path) -> None:
    films = {"g1_a.avi": film(1), "g1_b.avi": film(1), "g2_a.avi": film(2)}
    assert duplicates.find(store(tmp_path, films), ClipStore(tmp_path), defaults.duplicates).empty


def test_blank_clips_are_alike_and_no_finding(defaults: Params, tmp_path: Path) -> None:
    blank = np.full((60, 64, 64, 3), (7, 200, 90), np.uint8)
    films = {"g1_a.avi": blank, "g2_a.avi": blank, "g3_a.avi": film(3)}
    assert duplicates.find(store(tmp_path, films), ClipStore(tmp_path), defaults.duplicates).empty


def test_short_masked_clips_are_compared_by_what_they_show(
    defaults: Params, tmp_path: Path
) -> None:
    shown = {"g1_a.avi": film(1), "g2_a.avi": film(2), "copy_a.avi": film(1)}
    table = store(tmp_path, shown)
    for video, whole in shown.items():
        masked = np.zeros((64, 64, 64, 3), np.uint8)
        masked[1:4] = whole[:30:10]
        masked[0] = 1  # it begins black
        np.save(ClipStore(tmp_path).path(video), masked)
    found = duplicates.find(table, ClipStore(tmp_path), defaults.duplicates)
    assert list(zip(found["video"], found["other"], strict=True)) == [("g1_a.avi", "copy_a.avi")]


def test_unreadable_videos_are_passed_over(defaults: Params, tmp_path: Path) -> None:
    table = store(tmp_path, {"g1_a.avi": film(1), "g2_a.avi": film(1)})
    lost = pd.DataFrame({"video": ["g3_a.avi"], "group": ["g3"], "readable": [False]})
    table = pd.concat([lost, table], ignore_index=True)
    assert len(duplicates.find(table, ClipStore(tmp_path), defaults.duplicates)) == 1


def test_a_recording_that_is_two_groups_in_ucf101_is_found(
    real_data: Path, defaults: Params, tmp_path: Path
) -> None:
    from kinoflow.data.catalog import group_of
    from kinoflow.video import ClipSpec, sample

    spec = ClipSpec(16, 64, 64)
    videos = sorted((real_data / "ucf101-mini" / "YoYo").glob("*.avi"))
    for video in videos:
        np.save(tmp_path / f"{video.name}.npy", sample(video, spec))
    table = pd.DataFrame({"video": [video.name for video in videos], "readable": True})
    table["group"] = table["video"].map(group_of)
    found = duplicates.find(table, ClipStore(tmp_path), defaults.duplicates)
    assert set(zip(found["group"], found["other_group"], strict=True)) == {
        ("v_YoYo_g09", "v_YoYo_g10")
    }
