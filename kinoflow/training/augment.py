"""Augmentation of clips in training: what is drawn for a clip is the same for all its frames.

It works on NumPy arrays, with a generator that the caller seeds for each clip. So the same seed
gives the same pixels on every backend of Keras, and a resumed training has no state to restore.
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

    The frames come from a window, one at a random place in each of `wanted` equal parts of it.
    The window is the whole clip, less up to the fraction `temporal_crop`, at a random place. Then
    `rate` makes it longer or shorter by up to that fraction, and the action faster or slower; where
    the window ends after the clip, the last frame is repeated. With the probability `drop` a frame
    is replaced by the one before it.

    A clip with fewer frames than are wanted gives all of them, and then the index of the first
    frame after them, which is padding.

    Args:
        available: how many frames the clip has, padding not counted.
        wanted: how many frames the model takes.
        settings: of which `temporal_crop`, `rate` and `drop` are used.
        rng: what to draw from.
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
        settings: how much of each.
        rng: what to draw from.
        flip: whether this clip may be flipped; half of those that may are.

    Returns:
        uint8 (T, H, W, 3)
    """
    if flip and rng.uniform() < 0.5:
        clip = clip[:, :, ::-1]
    if settings.rotation or settings.scale or settings.shift:
        clip = _moved(clip, settings, rng)
    if settings.brightness or settings.contrast or settings.noise:
        shown = clip.any(axis=(1, 2, 3))
        if shown.any():
            clip = clip.copy()
            clip[shown] = _recoloured(clip[shown], settings, rng)
    return np.ascontiguousarray(clip, dtype=np.uint8)


def mix_up(
    clips: Frames, labels: NDArray[np.float32], alpha: float, rng: Generator
) -> tuple[Frames, NDArray[np.float32]]:
    """Blend each clip of a batch, and its label, with another of the batch.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization" (ICLR 2018).

    Args:
        clips: uint8 (B, T, H, W, 3).
        labels: float32 (B, classes).
        alpha: of the beta distribution that the shares are drawn from: small ones leave most clips
            nearly as they are, 1 draws every share alike.
        rng: what to draw from.

    Returns:
        Clips and labels of the same shapes and types.
    """
    other = rng.permutation(len(clips))
    share = rng.beta(alpha, alpha, len(clips)).astype(np.float32)
    weight = share[:, None, None, None, None]
    blended = clips * weight + clips[other] * (1 - weight)
    label = share[:, None]
    return np.rint(blended).astype(np.uint8), labels * label + labels[other] * (1 - label)


def _moved(clip: Frames, settings: Augment, rng: Generator) -> NDArray:
    """The clip rotated, scaled about its centre and shifted; beyond its edges they are repeated."""
    _, height, width, _ = clip.shape
    angle = rng.uniform(-settings.rotation, settings.rotation)
    scale = math.exp(rng.uniform(-1, 1) * math.log1p(settings.scale))
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = np.array(cv2.getRotationMatrix2D(centre, angle, scale), dtype=np.float64)
    matrix[:, 2] += rng.uniform(-settings.shift, settings.shift, 2) * (width, height)

    def move(frame: Frames) -> NDArray:
        frame = np.ascontiguousarray(frame)  # OpenCV takes no mirrored view
        edge = cv2.BORDER_REPLICATE
        return np.asarray(cv2.warpAffine(frame, matrix, (width, height), borderMode=edge))

    return np.stack([move(frame) for frame in clip])


def _recoloured(clip: NDArray, settings: Augment, rng: Generator) -> NDArray:
    """The clip with other contrast and brightness, and with noise; no frame of it is all black."""
    x = clip.astype(np.float32)
    contrast = 1 + rng.uniform(-settings.contrast, settings.contrast)
    brightness = 255 * rng.uniform(-settings.brightness, settings.brightness)
    x = x * np.float32(contrast) + np.float32((1 - contrast) * x.mean() + brightness)
    if settings.noise:
        deviation = np.float32(255 * rng.uniform(0, settings.noise))
        x = x + deviation * rng.standard_normal(x.shape, dtype=np.float32)
    x = np.clip(np.rint(x), 0, 255)
    # a black frame would be taken for padding
    return np.where(x.any(axis=(1, 2, 3), keepdims=True), x, 1)
