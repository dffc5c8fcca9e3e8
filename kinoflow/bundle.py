"""A trained model as a folder: model.keras, bundle.json and history.csv.

Everything that serving needs lies in it, and the same training gives the same bytes.
"""

import importlib.metadata
import json
import re
import shutil
import zipfile
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import silenced_stderr
from kinoflow.video.decoder import sample
from kinoflow.video.padding import valid_frames
from kinoflow.video.sampling import temporal_views
from kinoflow.video.spec import ClipSpec, Frames

if TYPE_CHECKING:
    import keras

MODEL = "model.keras"
DESCRIPTION = "bundle.json"
HISTORY = "history.csv"

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Description:
    """What bundle.json holds beside the model."""

    name: str  # of the candidate
    labels: tuple[str, ...]  # in the order of the model's outputs
    clip: ClipSpec  # what to sample from a video
    frames: int  # of those, how many the model takes
    views: int  # temporal views averaged where it takes fewer
    candidate: dict[str, Any]  # its section of params.yaml
    seed: int
    data: str  # MD5 over the clips trained on and their labels
    versions: dict[str, str]  # of the libraries trained with
    metrics: dict[str, float]  # training's own: the epoch kept and its validation scores
    flip: bool = False  # whether each view is seen mirrored as well
    weights: str | None = None  # MD5 of the file of weights that training began with


@dataclass(frozen=True)
class Bundle:
    """A model with what is needed to answer for a video."""

    folder: Path
    description: Description

    @property
    def labels(self) -> tuple[str, ...]:
        return self.description.labels

    @property
    def clip(self) -> ClipSpec:
        return self.description.clip

    @cached_property
    def model(self) -> "keras.Model":
        """The Keras model, uint8 (B, T, H, W, 3) to float32 (B, classes)."""
        with silenced_stderr():
            import keras

            import kinoflow.models.layers  # noqa: F401  registers what the file refers to
        return keras.saving.load_model(self.folder / MODEL, compile=False, safe_mode=True)

    def predict(self, clips: Frames) -> Probabilities:
        """Class probabilities float32 (B, classes) of clips uint8 (B, T, H, W, 3).

        T is that of `clip`. Where the model takes fewer frames, its answers to several
        temporal views, evenly shifted against each other, are averaged; so are those to mirrored
        clips, if the bundle says so.
        """
        if clips.ndim != 5 or clips.shape[1:] != self.clip.shape:
            raise ValueError(f"clips must be (B, {self.clip.shape}), got {clips.shape}")
        return np.array([self._averaged(clip) for clip in clips], dtype=np.float32)

    def predict_video(self, path: Path) -> Probabilities:
        """Class probabilities float32 (classes,) of a video file.

        Raises UnreadableVideo for a file that gives no frame.
        """
        return self.predict(sample(path, self.clip)[None])[0]

    def _averaged(self, clip: Frames) -> Probabilities:
        known = valid_frames(clip, masked=self.clip.padding == "mask")
        views = temporal_views(known, self.description.frames, self.description.views)
        sides = [slice(None), slice(None, None, -1)][: 1 + self.description.flip]
        answers = [self._call(clip[view][:, :, side]) for view in views for side in sides]
        return np.asarray(np.mean(answers, axis=0))

    def _call(self, clip: Frames) -> Probabilities:
        # One clip at a time, in evaluation as in serving: sums are rounded differently in larger
        # batches, by enough to tell the two apart. And compiled: on small models that is ten
        # times as fast as calling the model.
        return np.asarray(self.model.predict_on_batch(clip[None])[0])


def save(folder: Path, model: "keras.Model", description: Description, history: str) -> None:
    """Write a bundle, whole or not at all; `history` is the text of history.csv."""
    with files.replacing_folder(folder) as partial:
        model.save(partial / MODEL)
        _make_reproducible(partial / MODEL)
        files.write_json(partial / DESCRIPTION, asdict(description))
        files.write_text(partial / HISTORY, history)


def load(folder: Path | str) -> Bundle:
    """Read a bundle; the model itself is loaded at its first use.

    Raises UserError for a folder that is no bundle.
    """
    folder = Path(folder)
    try:
        raw = files.read_json(folder / DESCRIPTION)
    except FileNotFoundError:
        raise UserError(f"{folder} holds no trained model: train one with `make repro`") from None
    raw["labels"] = tuple(raw["labels"])
    raw["clip"] = ClipSpec(**raw["clip"])
    return Bundle(folder, Description(**raw))


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a model's answers depend on, Keras' backend among them."""
    import keras

    backend = keras.config.backend()
    names = ("kinoflow", "keras", backend, "numpy", "opencv-python-headless", "av")
    return {name: importlib.metadata.version(name) for name in names}


def weights_md5(options: dict[str, Any]) -> str | None:
    """What identifies the file that a model's option `weights` names; None for other weights."""
    path = Path(str(options.get("weights"))).expanduser()
    return files.md5(path) if path.is_file() else None


def _make_reproducible(archive: Path) -> None:
    """Rewrite a .keras file without what changes from one saving to the next.

    That is the date, and the addresses in memory by which Keras marks shared objects.
    """
    stripped = archive.with_suffix(".stripped")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(stripped, "w") as new:
        for entry in sorted(old.namelist()):
            content = old.read(entry)
            if entry == "metadata.json":
                metadata = json.loads(content)
                metadata.pop("date_saved", None)
                content = json.dumps(metadata, sort_keys=True).encode()
            elif entry == "config.json":
                content = _renumbered(content.decode()).encode()
            new.writestr(zipfile.ZipInfo(entry), content)
    shutil.move(stripped, archive)


def _renumbered(config: str) -> str:
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return numbers.setdefault(match[0], str(len(numbers) + 1))

    return re.sub(r'(?<="shared_object_id": )\d+', number, config)
