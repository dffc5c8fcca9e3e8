from pathlib import Path
from typing import Any

import numpy as np

from kinoflow.config import Augment
from kinoflow.data.clips import ClipSet
from kinoflow.training.batches import Augmentation, AugmentedBatches, ClipBatches
from tests.training import SPEC, moving


def augmented(
    clipset: ClipSet,
    *,
    frames: int = 6,
    size: int = 4,
    masked: bool = False,
    unflipped: frozenset[int] = frozenset(),
    class_weights: tuple[float, ...] = (1, 1),
    restyled: tuple[Path, ...] = (),
    **augment: Any,
) -> AugmentedBatches:
    augmentation = Augmentation(Augment(**augment), 7, unflipped, restyled)
    weights = np.array(class_weights, np.float32)
    return AugmentedBatches(clipset, augmentation, weights, frames=frames, size=size, masked=masked)


def in_order(
    clipset: ClipSet, *, frames: int = 6, size: int = 4, masked: bool = False
) -> ClipBatches:
    return ClipBatches(clipset, classes=2, frames=frames, size=size, masked=masked)


def test_validation_sees_every_clip_in_order_with_its_label(tmp_path: Path) -> None:
    clipset = moving(tmp_path, 10, 0)
    batches = in_order(clipset)
    assert [len(clips) for clips, _ in batches] == [4, 4, 2]
    clips, targets = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    np.testing.assert_array_equal(clips, clipset.read(np.arange(10)))
    np.testing.assert_array_equal(targets, np.eye(2)[clipset.labels])


def test_an_epoch_shows_every_clip_once_in_a_new_order(tmp_path: Path) -> None:
    clipset = moving(tmp_path, 10, 0)
    batches = augmented(clipset)
    first = batches.order.copy()
    shown = np.concatenate([batches[k][0] for k in range(len(batches))])
    np.testing.assert_array_equal(shown, clipset.read(first))
    batches.on_epoch_end()
    assert sorted(batches.order) == sorted(first)
    assert list(batches.order) != list(first)
    resumed = augmented(clipset)
    resumed.set_epoch(1)
    assert list(resumed.order) == list(batches.order)


def test_fewer_frames_come_in_order_from_the_whole_clip(tmp_path: Path) -> None:
    clipset = moving(tmp_path, 8, 0)
    numbered = np.broadcast_to(np.arange(6, dtype=np.uint8)[:, None, None, None], SPEC.shape)
    for video in clipset.videos:
        np.save(tmp_path / f"{video}.npy", numbered)
    frames = np.concatenate([b[:, :, 0, 0, 0] for b, *_ in augmented(clipset, frames=3)])
    assert {tuple(row) for row in frames // 2} == {(0, 1, 2)}
    assert len({tuple(row) for row in frames}) > 1
    still = np.concatenate([b[:, :, 0, 0, 0] for b, _ in in_order(clipset, frames=3)])
    assert {tuple(row) for row in still} == {(1, 3, 5)}


def test_short_clips_are_seen_without_their_padding(tmp_path: Path) -> None:
    clipset = moving(tmp_path, 8, 0)
    for video, clip in zip(clipset.videos, clipset.read(np.arange(8)), strict=True):
        clip[3:] = 0
        np.save(tmp_path / f"{video}.npy", clip)
    for wanted, shown in ((2, [True] * 2), (4, [True] * 3 + [False])):
        for batches in (
            in_order(clipset, frames=wanted, masked=True),
            augmented(clipset, frames=wanted, masked=True, temporal_crop=0.5),
        ):
            for batch in batches:
                assert (batch[0].any(axis=(2, 3, 4)) == shown).all()


def test_a_clip_is_augmented_by_the_seed_the_epoch_and_itself_alone(tmp_path: Path) -> None:
    clipset = moving(tmp_path, 10, 0)
    alone, batched = (augmented(clipset, size=size, noise=0.1) for size in (1, 5))
    one = {int(row): alone[k][0][0] for k, row in enumerate(alone.order)}
    for k in range(len(batched)):
        for row, clip in zip(batched.order[5 * k :], batched[k][0], strict=False):
            np.testing.assert_array_equal(clip, one[int(row)])
    before = {row: clip.copy() for row, clip in one.items()}
    alone.on_epoch_end()
    after = {int(row): alone[k][0][0] for k, row in enumerate(alone.order)}
    assert not any(np.array_equal(before[row], after[row]) for row in before)


def test_classes_that_mirror_into_each_other_are_not_flipped(tmp_path: Path) -> None:
    clipset = moving(tmp_path, 40, 0)
    batches = augmented(clipset, size=40, flip=True, unflipped=frozenset({1}))
    clips, targets, _ = batches[0]
    kept = clipset.read(batches.order)
    flipped = (clips == kept[:, :, :, ::-1]).all(axis=(1, 2, 3, 4))
    labels = targets.argmax(axis=1)
    assert not flipped[labels == 1].any()
    assert 3 < flipped[labels == 0].sum() < 17


def test_a_clip_weighs_as_its_class_does_and_mixup_mixes_the_weights(tmp_path: Path) -> None:
    clipset = moving(tmp_path, 8, 0)
    plain = augmented(clipset, size=8, class_weights=(0.5, 2))
    _, _, weights = plain[0]
    np.testing.assert_array_equal(weights, np.where(clipset.labels[plain.order] == 0, 0.5, 2))
    _, targets, weights = augmented(clipset, size=8, class_weights=(0.5, 2), mixup=1.0)[0]
    np.testing.assert_allclose(weights, targets @ [0.5, 2.0], rtol=1e-6)
    assert len(np.unique(weights)) > 2


def test_about_as_many_clips_as_asked_are_shown_in_one_of_the_styles(tmp_path: Path) -> None:
    clipset = moving(tmp_path / "clips", 40, 0)
    stores = tuple(tmp_path / style for style in ("waves", "mosaic"))
    for brightness, store in zip((101, 202), stores, strict=True):
        store.mkdir()
        for video in clipset.videos:
            np.save(store / f"{video}.npy", np.full(SPEC.shape, brightness, np.uint8))
    names = ("waves", "mosaic")
    batches = augmented(clipset, size=40, restyled=stores, restyle=0.5, styles=names)
    clips, targets, _ = batches[0]
    np.testing.assert_array_equal(targets.argmax(axis=1), clipset.labels[batches.order])
    styles = [int(clip.min()) if clip.min() == clip.max() else 0 for clip in clips]
    assert {*styles} == {0, 101, 202}
    assert 10 < styles.count(0) < 30
    plain = clipset.read(batches.order)
    assert all(
        (clip == same).all()
        for clip, same, style in zip(clips, plain, styles, strict=True)
        if not style
    )
    again = augmented(clipset, size=40, restyled=stores, restyle=0.5, styles=names)
    np.testing.assert_array_equal(again[0][0], clips)
