"""Augmentation of clips in training: what is drawn for a clip is the same for all its frames.

On NumPy arrays, by a generator that the caller seeds for each clip. So the same seed gives the
same pixels on every backend of Keras, and a killed training goes on with no state to restore.
"""

import math

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kinoflow.config import Augment
from kinoflow.video.spec import Frames


def frame_choice(there: int, wanted: int, params: Augment, rng: Generator) -> NDArray[np.int64]:
    """Which of the frames that there are to train on: indices (wanted,), never going back.

    One random frame out of each of `wanted` equal parts of a window. The window is the whole
    clip, but for up to `temporal_crop` of it cut off at random ends; `rate` makes it up to that
    fraction longer or shorter, so that the action goes faster or slower; where it ends later
    than the clip, the last frame stays. With the probability `drop` a frame is lost, and the one
    before it is seen again. With fewer frames than are wanted all are taken, and then the first
    one after them, which is padding.
    """
    if there < wanted:
        return np.minimum(np.arange(wanted), there)
    span = there * (1 - params.temporal_crop * rng.uniform())
    place, pace = rng.uniform(), rng.uniform(-1, 1)
    span *= 1 + params.rate * pace
    start = place * max(0.0, there - span)
    edges = np.linspace(start, start + span, wanted + 1)
    chosen = np.minimum(rng.uniform(edges[:-1], edges[1:]).astype(np.int64), there - 1)
    kept = np.arange(wanted) * (rng.uniform(size=wanted) >= params.drop)
    return chosen[np.maximum.accumulate(kept)]


def augmented(clip: Frames, params: Augment, rng: Generator, *, flip: bool) -> Frames:
    """A clip (T, H, W, 3) moved, recoloured and with noise, within what `params` allows.

    `flip` says whether this clip may be flipped at all. Black frames, which are padding, stay
    black, and no other becomes so.
    """
    if flip and rng.uniform() < 0.5:
        clip = clip[:, :, ::-1]
    if params.rotation or params.scale or params.shift:
        clip = _moved(clip, params, rng)
    if params.brightness or params.contrast or params.noise:
        shown = clip.any(axis=(1, 2, 3))
        if shown.any():
            clip = clip.copy()
            clip[shown] = _recoloured(clip[shown], params, rng)
    return np.ascontiguousarray(clip, dtype=np.uint8)


def mixed(
    clips: Frames, labels: NDArray[np.float32], alpha: float, rng: Generator
) -> tuple[Frames, NDArray[np.float32]]:
    """Clips (B, T, H, W, 3) and their labels (B, classes), each blended with another's.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization" (ICLR 2018).
    """
    other = rng.permutation(len(clips))
    share = rng.beta(alpha, alpha, len(clips)).astype(np.float32)
    weight = share[:, None, None, None, None]
    blended = clips * weight + clips[other] * (1 - weight)
    label = share[:, None]
    return np.rint(blended).astype(np.uint8), labels * label + labels[other] * (1 - label)


def _moved(clip: Frames, params: Augment, rng: Generator) -> NDArray:
    """Rotated, scaled about the centre and shifted; what comes in from outside repeats the edge."""
    _, height, width, _ = clip.shape
    angle = rng.uniform(-params.rotation, params.rotation)
    scale = math.exp(rng.uniform(-1, 1) * math.log1p(params.scale))
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = np.array(cv2.getRotationMatrix2D(centre, angle, scale), dtype=np.float64)
    matrix[:, 2] += rng.uniform(-params.shift, params.shift, 2) * (width, height)

    def move(frame: Frames) -> NDArray:
        frame = np.ascontiguousarray(frame)  # OpenCV takes no mirrored view
        edge = cv2.BORDER_REPLICATE
        return np.asarray(cv2.warpAffine(frame, matrix, (width, height), borderMode=edge))

    return np.stack([move(frame) for frame in clip])


def _recoloured(clip: NDArray, params: Augment, rng: Generator) -> NDArray:
    x = clip.astype(np.float32)
    contrast = 1 + rng.uniform(-params.contrast, params.contrast)
    brightness = 255 * rng.uniform(-params.brightness, params.brightness)
    x = x * np.float32(contrast) + np.float32((1 - contrast) * x.mean() + brightness)
    if params.noise:
        deviation = np.float32(255 * rng.uniform(0, params.noise))
        x = x + deviation * rng.standard_normal(x.shape, dtype=np.float32)
    x = np.clip(np.rint(x), 0, 255)
    # the darkest frames too must differ from padding
    return np.where(x.any(axis=(1, 2, 3), keepdims=True), x, 1)
