"""Clips are recoloured by a table of values, with the same result as by the formula."""

from typing import Any

import numpy as np
import pytest

from kinoflow.config import Augment
from kinoflow.training.augment import augment_clip
from kinoflow.video import Frames

# a mean of few values, one of many (whose sum in float32 is rounded), and odd numbers of them
SHAPES = [(1, 9, 9, 3), (5, 33, 47, 3), (16, 64, 64, 3), (33, 64, 65, 3), (20, 112, 112, 3)]


def by_the_formula(
    clip: Frames, settings: Augment, rng: np.random.Generator, *, flip: bool
) -> Frames:
    """Mirrored and recoloured as kinoflow did at first: in float32, value by value."""
    if flip and rng.uniform() < 0.5:
        clip = clip[:, :, ::-1]
    shown = clip.any(axis=(1, 2, 3))
    clip = clip.copy()
    if shown.any():
        x = clip[shown].astype(np.float32)
        contrast = 1 + rng.uniform(-settings.contrast, settings.contrast)
        brightness = 255 * rng.uniform(-settings.brightness, settings.brightness)
        x = x * np.float32(contrast) + np.float32((1 - contrast) * x.mean() + brightness)
        if settings.noise:
            deviation = np.float32(255 * rng.uniform(0, settings.noise))
            x = x + deviation * rng.standard_normal(x.shape, dtype=np.float32)
        x = np.clip(np.rint(x), 0, 255)
        clip[shown] = np.where(x.any(axis=(1, 2, 3), keepdims=True), x, 1)
    return clip


def clips(shape: tuple[int, ...]) -> dict[str, Frames]:
    rng = np.random.default_rng(0)
    bright = rng.integers(0, 256, shape, dtype=np.uint8)
    padded = bright.copy()
    padded[len(padded) // 2 :] = 0
    still = np.broadcast_to(bright[:1], shape)
    return {"bright": bright, "dark": bright // 64, "padded": padded, "still": still}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "params",
    [
        {"brightness": 0.2, "contrast": 0.3},
        {"brightness": 0.9},
        {"contrast": 0.9},
        {"brightness": 0.1, "noise": 0.1},
    ],
    ids=str,
)
def test_recoloured_clips_are_those_of_the_formula(
    params: dict[str, Any], shape: tuple[int, ...]
) -> None:
    settings = Augment(**params)
    changed = 0
    for name, clip in clips(shape).items():
        for seed in range(6):
            one, other = (
                recolour(clip, settings, np.random.default_rng(seed), flip=True)
                for recolour in (augment_clip, by_the_formula)
            )
            np.testing.assert_array_equal(one, other, err_msg=f"{name}, seed {seed}")
            assert one.dtype == np.uint8
            changed += not np.array_equal(one, clip)
    assert changed > 12


def test_a_clip_is_not_changed_where_it_lies() -> None:
    clip = clips((4, 8, 8, 3))["padded"]
    clip.flags.writeable = False
    before = clip.copy()
    for seed in range(8):
        augment_clip(clip, Augment(contrast=0.5, noise=0.1), np.random.default_rng(seed), flip=True)
    np.testing.assert_array_equal(clip, before)
