"""Augmentation of clips in training: all frames of a clip are changed in the same way.

Only noise differs from frame to frame. Augmentation works on NumPy arrays, with a random generator
that the caller seeds for each clip. So the same seed gives the same pixels on every backend of
Keras, and a resumed training has no state to restore.
"""

import math

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kinoflow.config import Augment
from kinoflow.video.spec import Frames


def choose_frames(
    available: int, wanted: int, settings: Augment, rng: Generator
) -> NDArray[np.int64]:
    """Draw which frames of a clip to train on: indices (wanted,), in order.

    The frames come from a window of the clip: one random frame from each of `wanted` equal parts
    of the window. The window is shorter than the clip by a random fraction of up to
    `temporal_crop`. It is then made longer or shorter by a random fraction of up to `rate`, which
    makes the action faster or slower. It lies at a random place; if it is longer than the clip,
    the last frame is repeated. Each frame is replaced by the one before it with the probability
    `drop`.

    A clip with fewer frames than wanted gives all its frames, and then, repeated, the index of the
    first frame after them, which is padding.

    Args:
        available: how many frames the clip has, padding not counted.
        wanted: how many frames the model takes.
        settings: only `temporal_crop`, `rate` and `drop` are used.
        rng: the source of random numbers.
    """
    if available < wanted:
        return np.minimum(np.arange(wanted), available)
    span = available * (1 - settings.temporal_crop * rng.uniform())
    place, pace = rng.uniform(), rng.uniform(-1, 1)
    span *= 1 + settings.rate * pace
    start = place * max(0.0, available - span)
    edges = np.linspace(start, start + span, wanted + 1)
    chosen = np.minimum(rng.uniform(edges[:-1], edges[1:]).astype(np.int64), available - 1)
    kept = np.arange(wanted) * (rng.uniform(size=wanted) >= settings.drop)
    return chosen[np.maximum.accumulate(kept)]


def augment_clip(clip: Frames, settings: Augment, rng: Generator, *, flip: bool) -> Frames:
    """Flip, move and recolour a clip at random, and add noise.

    Args:
        clip: uint8 RGB (T, H, W, 3). Black frames are padding: they stay black, and no other frame
            becomes black.
        settings: how strong each change may be.
        rng: the source of random numbers.
        flip: whether the clip may be flipped; then it is, with a probability of one half.

    Returns:
        uint8 (T, H, W, 3)
    """
    if flip and rng.uniform() < 0.5:
        clip = _mirrored(clip)
    if settings.rotation or settings.scale or settings.shift:
        clip = _moved(clip, settings, rng)
    if settings.brightness or settings.contrast or settings.noise:
        shown = _brightest(clip) > 0
        if shown.all():
            clip = _recoloured(clip, settings, rng)
        elif shown.any():
            clip = clip.copy()
            clip[shown] = _recoloured(clip[shown], settings, rng)
    return np.ascontiguousarray(clip)


def mix_up(
    clips: Frames, labels: NDArray[np.float32], alpha: float, rng: Generator
) -> tuple[Frames, NDArray[np.float32]]:
    """Blend each clip of a batch, and its label, with another of the batch.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization" (ICLR 2018).

    Args:
        clips: uint8 (B, T, H, W, 3).
        labels: float32 (B, classes).
        alpha: both parameters of the beta distribution from which each clip's share in its blend
            is drawn. A small alpha leaves most blends close to one of their two clips; with 1
            all shares are equally likely.
        rng: the source of random numbers.

    Returns:
        Clips and labels of the same shapes and types.
    """
    other = rng.permutation(len(clips))
    share = rng.beta(alpha, alpha, len(clips)).astype(np.float32)
    weight = share[:, None, None, None, None]
    blended = clips * weight + clips[other] * (1 - weight)
    label = share[:, None]
    return np.rint(blended).astype(np.uint8), labels * label + labels[other] * (1 - label)


def _mirrored(clip: Frames) -> Frames:
    """The clip with left and right swapped."""
    # all frames as one tall picture: OpenCV mirrors it far faster than NumPy copies a mirrored view
    tall = np.ascontiguousarray(clip).reshape(-1, *clip.shape[2:])
    return np.asarray(cv2.flip(tall, 1), dtype=np.uint8).reshape(clip.shape)


def _brightest(clip: Frames) -> Frames:
    """The highest value in each frame: (T, H, W, 3) to (T,)."""
    return np.asarray(clip.reshape(len(clip), -1).max(axis=1))


def _moved(clip: Frames, settings: Augment, rng: Generator) -> Frames:
    """The clip rotated and scaled about its centre and shifted; its edges are repeated outwards."""
    _, height, width, _ = clip.shape
    angle = rng.uniform(-settings.rotation, settings.rotation)
    scale = math.exp(rng.uniform(-1, 1) * math.log1p(settings.scale))
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = np.array(cv2.getRotationMatrix2D(centre, angle, scale), dtype=np.float64)
    matrix[:, 2] += rng.uniform(-settings.shift, settings.shift, 2) * (width, height)

    def move(frame: Frames) -> NDArray:
        edge = cv2.BORDER_REPLICATE
        return np.asarray(cv2.warpAffine(frame, matrix, (width, height), borderMode=edge))

    return np.stack([move(frame) for frame in clip])


def _recoloured(clip: Frames, settings: Augment, rng: Generator) -> Frames:
    """The clip with other contrast and brightness, and with noise; no frame of it is all black."""
    mean = _mean(clip)
    contrast = 1 + rng.uniform(-settings.contrast, settings.contrast)
    brightness = 255 * rng.uniform(-settings.brightness, settings.brightness)
    slope, offset = np.float32(contrast), np.float32((1 - contrast) * mean + brightness)
    if settings.noise:
        deviation = np.float32(255 * rng.uniform(0, settings.noise))
        x = clip * slope + offset
        x = x + deviation * rng.standard_normal(x.shape, dtype=np.float32)
        clip = _rounded(x)
    else:
        # without noise, a value becomes the same wherever it stands
        clip = _looked_up(clip, _rounded(np.arange(256, dtype=np.float32) * slope + offset))
    # a black frame would be taken for padding
    clip[_brightest(clip) == 0] = 1
    return clip


def _mean(clip: Frames) -> np.float32:
    """The same as `clip.astype(np.float32).mean()`, to the last bit, in an eighth of the time."""
    return np.float32(_sum(np.ascontiguousarray(clip).reshape(1, -1)) / clip.size)


def _sum(values: Frames) -> np.float32:
    """The sum of (1, N) values in float32, rounded as NumPy's pairwise summation rounds it."""
    count = values.shape[1]
    # the sum of so few bytes is below 2^24, so that float32 holds it exactly
    if count <= 1 << 16:
        return np.float32(cv2.sumElems(values)[0])
    half = count // 2 // 8 * 8
    return np.float32(_sum(values[:, :half]) + _sum(values[:, half:]))


def _rounded(x: NDArray[np.float32]) -> Frames:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _looked_up(clip: Frames, table: Frames) -> Frames:
    """Each value of a clip (T, H, W, 3) replaced by its entry in a table (256,)."""
    result = np.empty(clip.shape, dtype=np.uint8)
    # one frame at a time: OpenCV's threads, which it uses for large arrays, would compete with the
    # model's
    for frame, out in zip(clip, result, strict=True):
        cv2.LUT(frame, table, dst=out)
    return result
