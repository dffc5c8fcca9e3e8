from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from kinoflow.config import Params
from kinoflow.data.clips import ClipStore
from kinoflow.system.errors import UserError
from stages import leaks
from stages.leaks_page import render
from tests import pages


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [
        ("a.avi", "train", "g1"),
        ("b.avi", "test", "g2"),
        ("c.avi", "train", "g3"),
        ("d.avi", "train", "g3"),
        ("e.avi", "val", "g5"),
        ("f.avi", "val", "g6"),
    ]
    return pd.DataFrame(rows, columns=["video", "split", "group"])


def pairs(*rows: tuple[str, str, float]) -> pd.DataFrame:
    found = pd.DataFrame(rows, columns=["video", "other", "similarity"])
    return found.assign(group="g", other_group="h", mirrored=False)


def test_leaks_come_first_and_each_pair_has_its_verdict(table: pd.DataFrame) -> None:
    found = leaks.judge(
        pairs(
            ("c.avi", "d.avi", 0.99),
            ("e.avi", "f.avi", 0.98),
            ("a.avi", "b.avi", 0.91),
            ("b.avi", "e.avi", 0.95),
            ("a.avi", "left_out.avi", 1.0),
        ),
        table,
    )
    assert list(found["verdict"]) == ["leaks", "leaks", "merged", "one side"]
    assert list(found["video"]) == ["b.avi", "a.avi", "c.avi", "e.avi"]
    assert list(found.iloc[0][["split", "other_split"]]) == ["test", "val"]


def test_a_pair_that_is_divided_in_a_single_fold_leaks(table: pd.DataFrame) -> None:
    main = table.assign(split="train")
    folds = {number: main.copy() for number in (1, 2, 3)}
    folds[2].loc[folds[2]["video"] == "b.avi", "split"] = "test"
    near = pairs(("c.avi", "d.avi", 0.99), ("a.avi", "b.avi", 0.91))
    assert set(leaks.judge_folds(near, main, {})["verdict"]) == {"merged", "one side"}
    found = leaks.judge_folds(near, main, folds)
    assert list(found["video"]) == ["a.avi", "c.avi"]
    assert list(found["verdict"]) == ["leaks", "merged"]
    assert list(found.iloc[0][["split", "other_split"]]) == ["train of fold 2", "test of fold 2"]


def test_block_stops_and_the_others_warn(table: pd.DataFrame, defaults: Params) -> None:
    found = leaks.judge(pairs(("a.avi", "b.avi", 0.91)), table)
    for way in ("merge", "warn"):
        split = defaults.split.model_copy(update={"near_duplicates": way})
        assert "1 pairs of near-duplicates" in leaks.check(found, split, Path("leaks.html"))
    split = defaults.split.model_copy(update={"near_duplicates": "block"})
    with pytest.raises(UserError, match=r"a\.avi \(train\) and b\.avi \(test\).*to merge"):
        leaks.check(found, split, Path("leaks.html"))
    assert not leaks.check(
        leaks.judge(pairs(("c.avi", "d.avi", 1.0)), table), split, Path("leaks.html")
    )
    # merging cannot move what published lists put on a side
    published = split.model_copy(update={"method": "official"})
    with pytest.raises(UserError, match="merge.*or take one of each pair out of the data"):
        leaks.check(found, published, Path("leaks.html"))


def test_the_probe_sees_what_a_random_split_gives_away(
    within: Callable[[str, float, float], None],
) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), 6)
    labels = np.where(groups % 2, "run", "walk")
    # a clip looks like its recording, and next to nothing like its class
    looks = rng.normal(size=(100, 120))[groups] + 0.1 * rng.normal(size=(600, 120))
    numbers = leaks.score_cheap_model(looks.astype(np.float32), labels, [groups >= 60], 7)
    within("wrong on a random split", 1 - numbers["random"], 0.05)
    within("above chance on a grouped split", numbers["grouped"] - 0.5, 0.25)
    assert numbers["chance"] == 0.5
    assert numbers == leaks.score_cheap_model(looks.astype(np.float32), labels, [groups >= 60], 7)


def test_features_tell_no_order_in_time() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    features = leaks.appearance(clip)
    np.testing.assert_allclose(leaks.appearance(clip[::-1]), features, rtol=1e-5)
    assert np.abs(leaks.appearance(255 - clip) - features).max() > 0.01


def test_features_are_of_what_a_masked_clip_shows() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    masked = np.concatenate([clip, np.zeros((13, 32, 32, 3), np.uint8)])
    np.testing.assert_array_equal(leaks.appearance(masked), leaks.appearance(clip))
    assert np.isfinite(leaks.appearance(masked[3:])).all()


def test_the_page_states_both_numbers_and_takes_no_name_for_html(table: pd.DataFrame) -> None:
    found = leaks.judge(pairs(("a.avi", "b.avi", 0.91), ("b.avi", "e.avi", 0.95)), table)
    numbers = {
        **{"grouped": 0.4571, "random": 0.9083, "chance": 0.28},
        **{"random_lowest": 0.9, "random_highest": 0.92},
    }
    page = render(found, numbers, [(b"one", b"two")], 5)
    assert "0.457" in page
    assert "0.908" in page
    assert "45.1 percentage points higher than on this split" in " ".join(page.split())
    assert page.count("<img") == 2
    assert "random, mean of 5" in page
    assert "1 more" in page
    assert pages.faults(page) == []
    hostile = found.assign(video=pages.HOSTILE[0], group=pages.HOSTILE[1], other=pages.HOSTILE[2])
    page = render(hostile, numbers, [(b"one", b"two"), (b"three", b"four")], 5)
    assert pages.faults(page) == []
    assert all(name in pages.shown(page) for name in pages.HOSTILE[:3])
    page = render(found, {**numbers, "random": 0.4}, [], 5)
    assert (
        "5.7 percentage points lower than on this split: recognising recordings gains nothing"
        in " ".join(page.split())
    )
    assert "2 more" in page


def test_the_strips_of_a_pair_show_both_clips_in_order(table: pd.DataFrame, tmp_path: Path) -> None:
    store = ClipStore(tmp_path)
    # frames that get brighter, and darker; long clips and one that is shorter than a strip
    brightness = np.linspace(0, 255, 16).astype(np.uint8)
    for name, levels in (("a.avi", brightness), ("b.avi", brightness[::-1][:3])):
        np.save(store.path(name), np.tile(levels[:, None, None, None], (1, 32, 32, 3)))
    found = leaks.judge(pairs(("a.avi", "b.avi", 0.91)), table)
    assert leaks.strips(found.iloc[0], store) == leaks.strips(found.iloc[0], store)
    for content, frames, step in zip(
        leaks.strips(found.iloc[0], store), (8, 3), (1, -1), strict=True
    ):
        strip = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert strip is not None
        assert strip.shape == (84, 84 * frames)
        middles = strip[42, 42::84].astype(int)
        assert (np.diff(middles) * step > 10).all()
