from typing import Any

import numpy as np
import pytest

from kinoflow.config import Augment
from kinoflow.training.augment import augment_clip, choose_frames, mix_up
from kinoflow.video import Frames

PICTURE = np.random.default_rng(0).integers(1, 256, (32, 48, 3), dtype=np.uint8)
STILL = np.broadcast_to(PICTURE, (5, *PICTURE.shape))


def drawn(
    count: int = 8, clip: Frames = STILL, *, flip: bool = True, **params: Any
) -> list[Frames]:
    augment = Augment(**params)
    return [augment_clip(clip, augment, np.random.default_rng(k), flip=flip) for k in range(count)]


@pytest.mark.parametrize(
    "params",
    [
        {"rotation": 20},
        {"scale": 0.3},
        {"shift": 0.2},
        {"brightness": 0.3},
        {"contrast": 0.5},
        {"rotation": 10, "scale": 0.2, "shift": 0.1, "brightness": 0.2, "contrast": 0.2},
    ],
    ids=str,
)
def test_what_is_drawn_is_the_same_for_every_frame_and_not_for_every_clip(params: dict) -> None:
    clips = drawn(flip=False, **params)
    for clip in clips:
        assert clip.dtype == np.uint8
        assert clip.shape == STILL.shape
        for later in clip[1:]:
            np.testing.assert_array_equal(later, clip[0])
    assert len({clip.tobytes() for clip in clips}) == len(clips)
    again = drawn(flip=False, **params)
    assert [clip.tobytes() for clip in again] == [clip.tobytes() for clip in clips]


def test_nothing_is_done_unless_asked() -> None:
    for clip in drawn(flip=False):
        np.testing.assert_array_equal(clip, STILL)


def test_half_of_the_clips_are_mirrored_where_that_is_allowed() -> None:
    mirrored = [np.array_equal(clip, STILL[:, :, ::-1]) for clip in drawn(200)]
    kept = [np.array_equal(clip, STILL) for clip in drawn(200)]
    assert np.array_equal(mirrored, np.logical_not(kept))
    assert 70 < sum(mirrored) < 130


def test_each_change_stays_within_its_bound() -> None:
    grey = np.full((2, 40, 40, 3), 100, np.uint8)
    levels = [int(clip[0, 0, 0, 0]) for clip in drawn(50, grey, flip=False, brightness=0.1)]
    assert min(levels) >= 100 - 26
    assert max(levels) <= 100 + 26
    assert max(levels) - min(levels) > 25
    noisy = drawn(50, grey, flip=False, noise=0.1)
    deviations = [clip.std() for clip in noisy]
    assert max(deviations) <= 27
    assert max(deviations) > 15
    assert not np.array_equal(noisy[0][0], noisy[0][1])  # a sensor's noise is new in each frame

    dot = np.zeros((1, 101, 101, 3), np.uint8)
    dot[:, 50, 80] = 255  # 30 pixels right of the centre
    for clip in drawn(30, dot, flip=False, rotation=10):
        y, x = np.unravel_index(clip[0, :, :, 0].argmax(), (101, 101))
        assert abs(np.degrees(np.arctan2(y - 50, x - 50))) <= 11
        assert 28 <= np.hypot(y - 50, x - 50) <= 32
    places = []
    for clip in drawn(30, dot, flip=False, scale=0.5):
        y, x = np.unravel_index(clip[0, :, :, 0].argmax(), (101, 101))
        assert abs(y - 50) <= 1
        places.append(int(x))
    assert 68 <= min(places) < 75  # down to 30 / 1.5 from the centre
    assert 85 < max(places) <= 96  # and up to 30 * 1.5


def test_dark_frames_do_not_turn_into_padding() -> None:
    fading = np.stack([np.full((8, 8, 3), level, np.uint8) for level in (60, 10, 1, 0)])
    for clip in drawn(50, fading, brightness=0.3, contrast=0.5):
        np.testing.assert_array_equal(clip.any(axis=(1, 2, 3)), [True, True, True, False])


def test_padding_stays_black() -> None:
    padded = np.concatenate([STILL, np.zeros_like(STILL)])
    for clip in drawn(8, padded, rotation=9, shift=0.1, brightness=0.3, contrast=0.3, noise=0.1):
        assert not clip[5:].any()
        assert clip[:5].any()


def choices(stored: int, wanted: int, count: int = 100, **params: Any) -> np.ndarray:
    augment = Augment(**params)
    return np.array(
        [choose_frames(stored, wanted, augment, np.random.default_rng(k)) for k in range(count)]
    )


def test_without_augmentation_in_time_each_part_of_the_clip_gives_a_frame() -> None:
    np.testing.assert_array_equal(choices(16, 16), np.tile(np.arange(16), (100, 1)))
    chosen = choices(16, 4)
    assert (chosen // 4 == np.arange(4)).all()
    assert {*chosen[:, 0]} == {0, 1, 2, 3}


@pytest.mark.parametrize("params", [{"temporal_crop": 0.5}, {"rate": 0.5}, {"drop": 0.3}], ids=str)
def test_frames_stay_in_order_and_within_the_clip(params: dict) -> None:
    chosen = choices(32, 16, **params)
    assert (np.diff(chosen, axis=1) >= 0).all()
    assert chosen.min() >= 0
    assert chosen.max() <= 31


def test_temporal_crop_cuts_off_up_to_its_fraction() -> None:
    spans = np.ptp(choices(100, 50, temporal_crop=0.4), axis=1)
    assert 56 <= spans.min() < 70
    assert spans.max() > 90
    starts = choices(100, 50, temporal_crop=0.4)[:, 0]
    assert starts.min() < 5
    assert starts.max() > 25


def test_rate_makes_the_action_faster_and_slower() -> None:
    steps = np.median(np.diff(choices(200, 50, rate=0.5)[:, :25], axis=1), axis=1)
    assert steps.min() <= 2  # of 4 frames at the clip's own rate
    assert steps.max() >= 6


def test_another_rate_does_not_favour_the_beginning() -> None:
    chosen = choices(200, 50, rate=0.5)
    slower = chosen[chosen[:, -1] - chosen[:, 0] < 150]
    assert slower[:, 0].max() > 30
    assert slower[:, -1].max() > 190


def test_of_too_few_frames_all_are_taken_and_then_padding() -> None:
    np.testing.assert_array_equal(choices(3, 5, count=2, temporal_crop=0.9), [[0, 1, 2, 3, 3]] * 2)


def test_dropped_frames_show_the_one_before() -> None:
    chosen = choices(16, 16, drop=0.25)
    assert (chosen[:, 0] == 0).all()
    repeated = (np.diff(chosen, axis=1) == 0).mean()
    assert 0.2 < repeated < 0.3


def test_mixup_blends_clips_and_labels_by_the_same_share() -> None:
    clips = np.stack([np.full((2, 4, 4, 3), 250 * (k % 2), np.uint8) for k in range(16)])
    labels = np.eye(2, dtype=np.float32)[np.arange(16) % 2]
    blended, targets = mix_up(clips, labels, 1.0, np.random.default_rng(0))
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(blended[:, 0, 0, 0, 0] / 250, targets[:, 1], atol=0.003)
    assert ((targets > 0.01) & (targets < 0.99)).any()
