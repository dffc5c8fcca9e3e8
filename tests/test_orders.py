"""Clips with their frames shuffled, reversed or frozen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinoflow import bundle
from kinoflow.data.clips import ClipSet
from kinoflow.reports.orders import ORDERS, predict_reordered, reordered
from kinoflow.video import ClipSpec, Frames
from tests.networks import CLIP, noise, save_bundle, small_model


def loaded(
    folder: Path, name: str, taken: ClipSpec, views: int = 1, clip: ClipSpec = CLIP
) -> bundle.Bundle:
    save_bundle(folder / name, small_model(name, clip, taken), taken, views, clip=clip)
    return bundle.load(folder / name)


def numbered(spec: ClipSpec = CLIP) -> Frames:
    """A clip whose frames show their number, counted from 1."""
    frames = np.arange(1, spec.frames + 1, dtype=np.uint8)
    return np.broadcast_to(frames[:, None, None, None], spec.shape).copy()


def numbers(clip: Frames) -> list[int]:
    return clip[:, 0, 0, 0].tolist()


def test_frames_are_shuffled_reversed_and_frozen(tmp_path: Path) -> None:
    model = loaded(tmp_path, "lrcn", CLIP)
    found = {
        name: numbers(reordered(model, numbered(), order, np.random.default_rng(0)))
        for name, order in ORDERS.items()
    }
    assert found["reversed"] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert found["frozen"] == [5] * 8
    assert sorted(found["shuffled"]) == numbers(numbered()) != found["shuffled"]


def test_padding_stays_at_the_end(tmp_path: Path) -> None:
    masked = replace(CLIP, padding="mask")
    clip = numbered()
    clip[5:] = 0
    for taken, backwards in ((masked, [5, 4, 3, 2, 1]), (replace(masked, frames=6), None)):
        model = loaded(tmp_path / str(taken.frames), "lrcn", taken, clip=masked)
        for name, order in ORDERS.items():
            changed = numbers(reordered(model, clip, order, np.random.default_rng(0)))
            assert changed[5:] == [0, 0, 0]
            assert 0 not in changed[:5]
            if name == "shuffled":
                assert sorted(changed[:5]) == [1, 2, 3, 4, 5]
            if name == "reversed" and backwards:
                assert changed[:5] == backwards


def test_each_view_has_its_own_frames_in_another_order(tmp_path: Path) -> None:
    model = loaded(tmp_path, "lrcn", replace(CLIP, frames=4), views=2)
    assert model.times(numbered()).tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]
    backwards = reordered(model, numbered(), ORDERS["reversed"], np.random.default_rng(0))
    assert numbers(backwards) == [7, 8, 5, 6, 3, 4, 1, 2]


@pytest.mark.parametrize(("name", "blind"), [("frame_voting", True), ("lrcn", False)])
def test_order_matters_to_models_of_time_alone(name: str, blind: bool, tmp_path: Path) -> None:
    model = loaded(tmp_path, name, replace(CLIP, frames=4), views=2)
    clip, rng = noise(1)[0], np.random.default_rng(0)
    changed = np.stack([reordered(model, clip, ORDERS[order], rng) for order in ORDERS])
    as_is, (shuffled, backwards, _) = model.pooled(clip[None]), model.pooled(changed)
    for answer in (shuffled, backwards):
        if blind:
            np.testing.assert_allclose(answer, as_is[0], atol=1e-6)
        else:
            assert abs(answer - as_is[0]).max() > 1e-5


def test_the_same_seed_gives_the_same_orders(tmp_path: Path) -> None:
    model = loaded(tmp_path, "lrcn", CLIP)
    for number, clip in enumerate(noise(3)):
        np.save(tmp_path / f"{number}.npy", clip)
    clips = ClipSet(tmp_path, ("0", "1", "2"), np.array([0, 1, 2]))
    one, again = (predict_reordered(model, clips, 7) for _ in range(2))
    assert list(one) == ["shuffled", "reversed", "frozen"]
    for name, predicted in one.items():
        np.testing.assert_array_equal(predicted, again[name])
