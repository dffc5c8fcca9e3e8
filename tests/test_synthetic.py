import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kinoflow.config import Dataset, Synthetic
from kinoflow.data import tables
from kinoflow.system import files
from kinoflow.video import probe
from stages.sources import synthetic
from stages.sources.synthetic import SyntheticVideo, phases, render


def film(label: int, group: int = 1, clip: int = 1, seed: int = 7) -> SyntheticVideo:
    return SyntheticVideo(seed, label, group, clip, 80, 60)


def test_names_follow_ucf_and_cover_what_was_asked() -> None:
    settings = Synthetic(classes=4, groups=3, clips_per_group=2)
    items = synthetic.items(Dataset(synthetic=settings), 7, Path())
    *videos, truth = items
    assert truth.name == ".truth.csv"
    names = [item.name for item in videos]
    assert len(set(names)) == 4 * 3 * 2
    assert "StandUp/v_StandUp_g03_c02.avi" in names
    assert {name.partition("/")[0] for name in names} == {
        "SitDown",
        "StandUp",
        "OpenDoor",
        "CloseDoor",
    }


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    synthetic.write(film(2), tmp_path / "one.avi")
    code = (
        "from pathlib import Path\nfrom stages.sources.synthetic import SyntheticVideo, write\n"
        f"write(SyntheticVideo(7, 2, 1, 1, 80, 60), Path({str(tmp_path / 'two.avi')!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    synthetic.write(film(2, seed=8), tmp_path / "other.avi")
    one, two, other = (files.md5(tmp_path / f"{name}.avi") for name in ("one", "two", "other"))
    assert one == two != other


def test_a_film_is_a_video_of_that_length(tmp_path: Path) -> None:
    synthetic.write(film(0), tmp_path / "a.avi")
    info = probe(tmp_path / "a.avi")
    assert (info.frames, info.fps) == (len(render(film(0))), 25)
    assert (info.width, info.height) == (80, 60)


def test_settings_are_part_of_the_fingerprint() -> None:
    def fingerprints(seed: int, **settings: int) -> set[str]:
        wanted = Dataset(synthetic=Synthetic(groups=1, clips_per_group=1, **settings))
        return {item.fingerprint for item in synthetic.items(wanted, seed, Path())}

    base = fingerprints(7)
    assert len(base) == 6 + 1
    assert base == fingerprints(7)
    assert base.isdisjoint(fingerprints(8))
    assert base.isdisjoint(fingerprints(7, width=320))


def test_the_actor_is_where_the_truth_says(tmp_path: Path) -> None:
    video = film(0)
    synthetic.write_truth([video], tmp_path / "truth.csv")
    table = tables.read(tmp_path / "truth.csv", tables.TRUTH)
    assert list(table["frame"]) == list(range(len(render(video))))
    assert set(table["video"]) == {video.name}
    boxes = table[["left", "top", "right", "bottom"]].to_numpy()
    assert ((boxes >= 0) & (boxes <= 1)).all()
    # the shirt has a colour of its own in this film, and lies within the box of each frame
    shirt = np.array(synthetic.scene_of(video).appearance.shirt)
    for frame, (left, top, right, bottom) in zip(render(video), boxes, strict=True):
        unlike = frame / frame.sum(axis=2, keepdims=True) - shirt / shirt.sum()
        rows, columns = np.nonzero(np.abs(unlike).max(axis=2) < 0.03)
        inside = (columns >= left * 80 - 1) & (columns <= right * 80 + 1)
        inside &= (rows >= top * 60 - 1) & (rows <= bottom * 60 + 1)
        assert len(rows) > 20
        assert inside.mean() > 0.9
        assert (right - left) * (bottom - top) < 0.5


@pytest.mark.parametrize("forward", [0, 2, 4])
def test_a_pair_is_each_other_played_backwards(forward: int) -> None:
    there, back = phases(film(forward)), phases(film(forward + 1))
    for run, start, end in ((there, 0, 1), (back, 1, 0)):
        assert (run[0], run[-1]) == (start, end)
        assert (np.diff(run) * (end - start) >= 0).all()
    # both spend their time at the same phases
    pooled = [
        np.concatenate([phases(film(label, group, clip)) for group in range(40) for clip in (1, 2)])
        for label in (forward, forward + 1)
    ]
    one, other = (np.quantile(values, np.linspace(0.05, 0.95, 19)) for values in pooled)
    np.testing.assert_allclose(one, other, atol=0.06)


def test_a_random_split_leaks_and_a_grouped_one_does_not(
    within: Callable[[str, float, float], None],
) -> None:
    rows, labels, groups = [], [], []
    for label in range(6):
        for group in range(1, 7):
            for clip in (1, 2, 3, 4):
                frames = render(film(label, group, clip))
                # colours alone: where and who, but not what
                rows.append(
                    np.concatenate(
                        [
                            frames.mean((0, 1, 2)),
                            frames.std((0, 1, 2)),
                            frames[:, :8].mean((0, 1, 2)),
                            frames[:, -6:].mean((0, 1, 2)),
                        ]
                    )
                )
                labels.append(label)
                groups.append(f"{label}-{group}")
    # what knows the rooms and nothing else
    probe = make_pipeline(StandardScaler(), KNeighborsClassifier(1))
    at_random = cross_val_score(probe, rows, labels, cv=KFold(4, shuffle=True, random_state=0))
    by_group = cross_val_score(probe, rows, labels, groups=groups, cv=GroupKFold(4))
    within("wrong on a random split", 1 - at_random.mean(), 0.3)
    within("above chance on a grouped split", by_group.mean() - 1 / 6, 0.45 - 1 / 6)


def test_a_disk_that_fills_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """As OpenCV on a full disk: the file is begun, and then nothing, without a word."""

        fourcc = cv2.VideoWriter.fourcc

        def __init__(self, path: str, *_: object) -> None:
            Path(path).write_bytes(b"RIFF")

        def write(self, image: np.ndarray) -> None: ...

        def release(self) -> None: ...

    monkeypatch.setattr(cv2, "VideoWriter", Full)
    with pytest.raises(OSError, match="not all frames could be written"):
        synthetic.write(film(0), tmp_path / "a.avi")
