"""A trained generator: pictures of one domain become pictures of the other."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kinoflow.style.cyclegan import networks
from kinoflow.style.pictures import to_bytes, to_floats
from kinoflow.system.errors import UserError
from kinoflow.video.spec import Frames

_MULTIPLE = 4  # a generator halves its pictures twice
_LEAST = 16  # pixels


class Translator:
    """Repaints pictures of any size.

    Args:
        network: a generator, see `kinoflow.style.cyclegan.networks.generator`.
    """

    def __init__(self, network: keras.Model) -> None:
        self.network = network

    def __call__(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Repaint pictures: RGB in [0, 1], (B, H, W, 3) to (B, H, W, 3)."""
        height, width = pictures.shape[1:3]
        # 16 is a multiple of 4 as well
        down, right = (max(_LEAST - size, -size % _MULTIPLE) for size in (height, width))
        padded = np.pad(pictures, ((0, 0), (0, down), (0, right), (0, 0)), mode="edge")
        made: Any = self.network.predict_on_batch(padded.astype(np.float32))
        return np.asarray(made, dtype=np.float32)[:, :height, :width]

    def film(self, frames: Frames, batch: int = 16) -> Frames:
        """Repaint frames, uint8 RGB (N, H, W, 3), a batch at a time."""
        parts = [frames[start : start + batch] for start in range(0, len(frames), batch)]
        made = [self(to_floats(part)) for part in parts]
        return np.concatenate([to_bytes(each) for each in made])


def load(path: Path) -> Translator:
    """The generator in a file: a_to_b.keras or b_to_a.keras of a trained CycleGAN.

    Raises UserError for a file that is missing or holds no generator.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: `make style` trains a CycleGAN")
    # what the file needs is registered when `networks` is imported
    objects = {"Mirrored": networks.Mirrored}
    try:
        network = keras.models.load_model(path, custom_objects=objects, compile=False)
    except (ValueError, OSError, TypeError) as error:
        raise UserError(f"{path} is no generator of a CycleGAN: {error}") from None
    if network.input_shape[1:] != (None, None, 3) or network.output_shape[-1] != 3:
        raise UserError(f"{path} is no generator of a CycleGAN: it takes {network.input_shape}")
    return Translator(network)
