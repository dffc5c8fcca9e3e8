"""How close a translation is to the truth, and the translation that colours alone would give."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kinoflow.style.pictures import to_floats
from kinoflow.video.spec import Frames

Pixels = NDArray[np.float32]

_WINDOW = (11, 11)
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2


def similarity(picture: Pixels, truth: Pixels) -> float:
    """Structural similarity (SSIM): 1 for the same picture, about 0 for an unrelated one.

    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity" (IEEE
    TIP 2004): windows of 11 pixels, Gaussian weights, the mean over channels.

    Args:
        picture: RGB in [0, 1], (H, W, 3); H and W at least 11.
        truth: of the same shape.
    """

    def mean(values: Pixels) -> Pixels:
        blurred = cv2.GaussianBlur(values, _WINDOW, _SIGMA)
        return np.asarray(blurred[5:-5, 5:-5], dtype=np.float32)  # windows within the picture

    x, y = picture.astype(np.float32), truth.astype(np.float32)
    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return float((light * structure).mean())


def difference(picture: Pixels, truth: Pixels) -> float:
    """The mean absolute difference (L1) of two pictures in [0, 1], (H, W, 3)."""
    return float(np.abs(picture - truth).mean())


class Colours(NamedTuple):
    """The colours of pictures, in the opponent colours of `colours_of`."""

    mean: Pixels  # (3,)
    spread: Pixels  # standard deviations, (3,)


def colours_of(pictures: Frames) -> Colours:
    """The colours of pictures, uint8 RGB (N, H, W, 3), in CIELAB."""
    lab = _lab(to_floats(pictures.reshape(1, -1, 3))).reshape(-1, 3)
    return Colours(lab.mean(axis=0), lab.std(axis=0))


def recoloured(picture: Pixels, wanted: Colours) -> Pixels:
    """A picture with other colours: each channel gets the wanted mean and spread.

    Reinhard et al., "Color Transfer between Images" (IEEE CG&A 2001), in CIELAB rather than in the
    colour space of the paper, which is for natural scenes.

    Args:
        picture: RGB in [0, 1], (H, W, 3).
        wanted: the colours that it gets.
    """
    lab = _lab(picture.astype(np.float32))
    mean, spread = lab.mean(axis=(0, 1)), lab.std(axis=(0, 1))
    moved = (lab - mean) * (wanted.spread / np.maximum(spread, 1e-3)) + wanted.mean
    back = cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.clip(np.asarray(back, dtype=np.float32), 0, 1)


def _lab(picture: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB), dtype=np.float32)
