"""The renderer's own flow moves each frame into the next one."""

from functools import cache
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kinoflow.style import flow
from stages.sources import synthetic, truth_flow
from stages.sources.synthetic import CLASSES, SyntheticVideo


def film(label: int, group: int = 1) -> SyntheticVideo:
    return SyntheticVideo(7, label, group, 1, 160, 120)


@cache
def motions_of(label: int) -> list[flow.Motion]:
    return truth_flow.motions(film(label))


def painted(video: SyntheticVideo) -> NDArray[np.uint8]:
    """The frames before light and grain, which move with nothing, are laid over them."""
    return np.stack([each.world for each in synthetic.exposures(video)])


def dense(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Flow by DIS as it is; `flow.motion` takes away what it makes up on blank walls."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (after, before)]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(dis.calc(grey[0], grey[1], None), dtype=np.float32)  # type: ignore[call-overload]


def errors(frames: NDArray[np.uint8], motions: list[flow.Motion]) -> tuple[float, float, float]:
    """Mean squares on the visible pixels: moved by the truth, by estimated flow, and not at all."""
    moved, estimated, still, weight = 0.0, 0.0, 0.0, 0.0
    pictures = frames.astype(np.float32) / 255
    for before, after, (backward, visible), pair in zip(
        pictures, pictures[1:], motions, pairwise(frames), strict=False
    ):
        weight += float(visible.sum())
        guess = dense(*pair)
        for_each = [flow.warp(before, backward), flow.warp(before, guess), before]
        squares = [
            float((np.square(each - after).mean(axis=-1) * visible).sum()) for each in for_each
        ]
        moved, estimated, still = moved + squares[0], estimated + squares[1], still + squares[2]
    return moved / weight, estimated / weight, still / weight


@pytest.mark.parametrize("label", [0, 2, 4], ids=["sit", "door", "box"])
def test_a_frame_moved_by_the_truth_is_the_next_one(label: int) -> None:
    video = film(label)
    frames, motions = painted(video), motions_of(video.label)
    assert len(motions) == len(synthetic.render(video)) - 1
    moved, estimated, still = errors(frames, motions)
    assert moved < 0.8 * estimated
    assert moved < (0.9 if label == 0 else 0.3) * still
    for backward, visible in motions:
        assert backward.shape == (120, 160, 2)
        assert set(np.unique(visible)) <= {0.0, 1.0}
        assert 0.7 < visible.mean() < 0.97


def test_every_part_moves_by_itself() -> None:
    video = film(4)  # a box is pushed to the right or left, and the figure walks
    scene = synthetic.scene_of(video)
    middle = motions_of(video.label)[20]
    seen = np.round(middle.backward[middle.visible > 0].astype(np.float64), 2)
    ways, counts = np.unique(seen, axis=0, return_counts=True)
    # most of it is the place, which pans, and some is the box, which moves against where it faces
    most = ways[counts.argmax()]
    np.testing.assert_allclose(most, [scene.appearance.pan, 0], atol=0.006)
    facing = scene.brush(np.zeros((1, 1, 3), np.uint8), 0.0).facing
    box = [abs(x) > 1 and y == 0 and x * facing < 0 for x, y in ways]
    assert counts[box].max() > 300
    assert len(ways) > 100  # limbs turn, so that each of their pixels moves its own way


def test_what_was_hidden_does_not_count() -> None:
    video = film(4)
    frames, motions = painted(video), motions_of(video.label)
    hidden, seen = [], []
    for before, after, (backward, visible) in zip(
        frames.astype(np.float32) / 255, frames[1:].astype(np.float32) / 255, motions, strict=False
    ):
        squares = np.square(flow.warp(before, backward) - after).mean(axis=-1)
        hidden.append(squares[visible == 0].mean())
        seen.append(squares[visible == 1].mean())
    assert np.mean(hidden) > 20 * np.mean(seen)


def test_odd_sizes() -> None:
    for label in range(0, len(CLASSES), 2):
        video = SyntheticVideo(3, label, 2, 1, 63, 37)
        for backward, visible in truth_flow.motions(video):
            assert backward.shape == (37, 63, 2)
            assert np.isfinite(backward).all()
            assert visible.shape == (37, 63)
