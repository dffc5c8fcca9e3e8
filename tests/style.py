"""Small pictures, and a network with random weights, for tests of style transfer."""

from pathlib import Path

import cv2
import keras
import numpy as np

from kinoflow.models.layers.backbones import squeezenet
from kinoflow.style.pictures import Picture


def squeezenet_file(path: Path) -> Path:
    """A file of random weights of SqueezeNet, which are always the same."""
    keras.utils.set_random_seed(1)
    squeezenet((None, None, 3)).save_weights(path)  # type: ignore[arg-type]
    return path


def scene(height: int = 40, width: int = 48, shift: int = 0, seed: int = 0) -> Picture:
    """A smooth picture (height, width, 3) with a bright disc, `shift` pixels to the right."""
    rng = np.random.default_rng(seed)
    picture = cv2.GaussianBlur(rng.random((height, width + 40, 3), np.float32), (0, 0), 2)
    picture = (picture - picture.min()) / np.ptp(picture) * 0.6
    cv2.circle(picture, (30, height // 2), 8, (0.9, 0.8, 0.2), -1, cv2.LINE_AA)
    return np.ascontiguousarray(picture[:, 20 - shift : 20 - shift + width])


def stripes(height: int = 40, width: int = 48, seed: int = 0) -> Picture:
    """A picture (height, width, 3) of slanted stripes in two colours."""
    rng = np.random.default_rng(seed)
    dark, light = rng.random((2, 3)) * [[0.4], [0.4]] + [[0.0], [0.6]]
    y, x = np.mgrid[:height, :width]
    share = ((x + 2 * y) % 8 < 4)[..., None]
    return np.where(share, dark, light).astype(np.float32)
