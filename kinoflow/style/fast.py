"""Repaint pictures in one pass, by a network that was trained for one style.

`kinoflow.style.fast_training` trains it and writes its file: a .keras file that also holds what the
network was trained by.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from kinoflow.system.errors import UserError
from kinoflow.system.terminal import printable, silenced_stderr

if TYPE_CHECKING:
    import keras

Pictures = NDArray[np.float32]

ABOUT = "kinoflow.json"  # the `About` in a network's file


class Recipe(BaseModel):
    """How a network is trained.

    strength, smoothness and consistency are those of `kinoflow.style.optimise.Options`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strength: float = 0.25  # of the style, from 0 (nothing changes) to 1
    smoothness: float = 40.0  # the weight of total variation
    consistency: float = 20.0  # the weight of the temporal loss
    filters: int = 16  # see `kinoflow.style.network.transform_network`
    blocks: int = 3
    pattern: int = 24
    size: int = 128  # pixels of a frame's longer side
    batch: int = 4  # pairs of frames that a step learns from
    steps: int = 1000
    learning_rate: float = 0.003  # at first; it falls to 0
    seed: int = 0


class About(BaseModel):
    """What a network was trained by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    styles: tuple[str, ...]  # names of the files of pictures
    features: str  # the network that content and style were measured with
    recipe: Recipe
    data: str  # MD5 over the clips trained on and their sides of the split
    identity: str  # SHA-256 over all that the training depended on
    versions: dict[str, str]  # of the libraries
    losses: dict[str, float]  # the last ones in training


@dataclass(frozen=True)
class FastStyle:
    """A network that repaints pictures in one style."""

    network: "keras.Model"
    about: About

    def __call__(self, pictures: Pictures) -> Pictures:
        """Repaint pictures.

        Args:
            pictures: RGB in [0, 1], (B, H, W, 3), of any size.

        Returns the same, repainted, float32 (B, H, W, 3).
        """
        from kinoflow.style.network import SMALLEST

        _, height, width, _ = pictures.shape
        more = [(0, max(0, SMALLEST - side)) for side in (height, width)]
        if more != [(0, 0), (0, 0)]:
            pictures = np.pad(pictures, ((0, 0), *more, (0, 0)), mode="edge")
        painted = self.network.predict_on_batch(np.asarray(pictures, np.float32))
        return np.asarray(painted)[:, :height, :width]


def read_about(path: Path) -> About:
    """What the network in a file was trained by; the network itself is not loaded.

    Raises UserError for a file that is missing or holds no network of `kinoflow style train`.
    """
    name = printable(str(path))
    if not path.is_file():
        raise UserError(f"{name}: there is no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            return About.model_validate_json(archive.read(ABOUT))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, ValidationError):
        raise UserError(
            f"{name} holds no network for a style: make one with `kinoflow style train`"
        ) from None


def load(path: Path) -> FastStyle:
    """Load the network in a file.

    Raises UserError as `read_about` does, and for a file that is damaged.
    """
    about = read_about(path)
    with silenced_stderr():
        import keras

        # Keras knows the network's own layers once they are imported
        from kinoflow.style import network as _layers  # noqa: F401

    try:
        network = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception:  # noqa: BLE001  Keras and h5py raise many classes here
        raise UserError(f"{printable(str(path))} is damaged: train the network again") from None
    if network.input_shape != (None, None, None, 3) or network.output_shape[-1] != 3:
        raise UserError(f"{printable(str(path))} holds a network for something else than pictures")
    # XLA would compile for each size; TensorFlow takes any without it
    network.jit_compile = keras.backend.backend() == "jax"
    return FastStyle(network, about)
