"""A bundle: a folder with a trained model and all that is needed to classify a video with it.

It holds model.keras, bundle.json (the `Description`) and history.csv (the scores of each epoch).
`kinoflow.training.export` writes it.
"""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from kinoflow.system import documents, files
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import silenced_stderr
from kinoflow.video.padding import valid_frames
from kinoflow.video.sampling import temporal_views
from kinoflow.video.spec import ClipSpec, Frames

if TYPE_CHECKING:
    import keras

MODEL = "model.keras"
DESCRIPTION = "bundle.json"
HISTORY = "history.csv"

Probabilities = NDArray[np.float32]


class Description(BaseModel):
    """What bundle.json says about the model beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # of the candidate
    labels: tuple[str, ...]  # in the order of the model's outputs
    clip: ClipSpec  # how a video is sampled
    frames: int  # that the model takes of a clip
    views: int  # temporal views that a prediction averages if `frames` is less than the clip has
    candidate: dict[str, Any]  # its section of params.yaml
    seed: int
    data: str  # MD5 over the clips trained on and their labels
    versions: dict[str, str]  # of the libraries that it was trained with
    metrics: dict[str, int | float]  # the kept epoch, counted from 1, and its scores in training
    flip: bool = False  # whether a prediction averages mirrored views as well
    weights: str | None = None  # MD5 of the file of the weights that training began with
    # that probabilities are calibrated with; see `calibrated`
    temperature: Annotated[float, Field(gt=0)] = 1.0
    trained_on: tuple[str, ...] = ("train",)  # the sides of the split that the weights fit
    # whether it is the winner, trained once more with its validation clips, for as many epochs as
    # were best before; then `metrics` has no validation scores
    refit: bool = False
    # median length of the videos that it was trained on; None: their containers do not say
    seconds: Annotated[float, Field(gt=0)] | None = None
    # MD5 of the bundle of each candidate that taught it, by name; empty if none did
    teachers: dict[str, str] = {}

    @classmethod
    def read(cls, folder: Path) -> "Description":
        """Read the description in a bundle's folder.

        Raises FileNotFoundError if there is none, and UserError if it is damaged or of another
        version of kinoflow.
        """
        return documents.read_model(cls, folder / DESCRIPTION)

    def write(self, folder: Path) -> None:
        """Write bundle.json into a bundle's folder."""
        untaught = set() if self.teachers else {"teachers"}
        files.write_json(folder / DESCRIPTION, self.model_dump(mode="json", exclude=untaught))


@dataclass(frozen=True)
class Bundle:
    """A trained model that classifies clips."""

    # whether there is a Keras network to look into, beside its answers
    is_network: ClassVar[bool] = True

    folder: Path
    description: Description
    # the model, if it is in memory and its file not yet written
    trained: "keras.Model | None" = field(default=None, repr=False, compare=False)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.description.labels

    @property
    def clip(self) -> ClipSpec:
        return self.description.clip

    @property
    def mirrorings(self) -> tuple[slice, ...]:
        """Slices of a frame's columns, one for each view of it that a prediction averages.

        All columns as they are, and in reverse if the description says `flip`.
        """
        return (slice(None), slice(None, None, -1))[: 1 + self.description.flip]

    @cached_property
    def model(self) -> "keras.Model":
        """The Keras model, uint8 (B, T, H, W, 3) to float32 (B, classes), not calibrated."""
        if self.trained is not None:
            return self.trained
        with silenced_stderr():
            import keras

            import kinoflow.models.layers  # noqa: F401  registers what the file refers to
        return keras.saving.load_model(self.folder / MODEL, compile=False, safe_mode=True)

    def predict(self, clips: Frames) -> Probabilities:
        """Class probabilities of clips, calibrated.

        Where the model takes fewer frames than a clip has, the predictions for several temporal
        views are averaged. If the description says `flip`, mirrored views are averaged as well.
        The average is calibrated, and not each view: averages of calibrated views would be too
        unsure (Rahaman and Thiery, "Uncertainty Quantification and Deep Ensembles", NeurIPS 2021).

        Args:
            clips: uint8 RGB (B, T, H, W, 3), sampled as `clip` says.

        Returns:
            float32 (B, classes), classes in the order of `labels`.

        Raises ValueError for clips of another shape.
        """
        return self.calibrated(self.pooled(clips))

    def calibrated(self, probabilities: Probabilities) -> Probabilities:
        """Calibrate what `pooled` gives, float32 (B, classes)."""
        temperature = self.description.temperature
        return np.array([calibrated(one, temperature) for one in probabilities], dtype=np.float32)

    def pooled(self, clips: Frames) -> Probabilities:
        """As `predict`, but not calibrated."""
        if clips.ndim != 5 or clips.shape[1:] != self.clip.shape:
            raise ValueError(f"clips must be (B, {self.clip.shape}), got {clips.shape}")
        return np.array([self._averaged(clip) for clip in clips], dtype=np.float32)

    def _averaged(self, clip: Frames) -> Probabilities:
        # One clip at a time: larger batches round sums differently, and evaluation and serving have
        # to agree exactly.
        average: Probabilities = self.forward(self.views(clip)).mean(axis=0)
        return average

    def times(self, clip: Frames) -> NDArray[np.int64]:
        """Which frames of a clip (T, H, W, 3) each temporal view takes, (views, frames)."""
        valid = valid_frames(clip, masked=self.clip.padding == "mask")
        return np.stack(temporal_views(valid, self.description.frames, self.description.views))

    def views(self, clip: Frames) -> Frames:
        """What an answer to a clip (T, H, W, 3) averages over, uint8 (views, frames, H, W, 3)."""
        views = clip[self.times(clip)]
        if len(self.mirrorings) == 1:
            return views
        return np.concatenate([views[..., columns, :] for columns in self.mirrorings])

    @cached_property
    def forward(self) -> Callable[[Frames], Probabilities]:
        """The compiled model, from `views` of any clips to the probabilities of each view."""
        return compiled(self.model)


def calibrated(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Probabilities whose logarithms are divided by a temperature.

    Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017):
    softmax(log(p) / temperature). Above 1 it makes an answer less sure, below 1 surer. The order of
    the classes stays, except that two may become equal whose difference float32 cannot hold.

    Args:
        probabilities: float32 (..., classes).
        temperature: above 0. At 1 the probabilities are returned as they are.

    Returns:
        float32 (..., classes).
    """
    if temperature == 1:
        return probabilities
    scaled = log_probabilities(probabilities) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


def log_probabilities(probabilities: Probabilities) -> NDArray[np.float64]:
    """The logarithms of probabilities (..., classes), finite also for a probability of 0."""
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny, dtype=np.float64))


def compiled(model: "keras.Model") -> Callable[[Frames], Probabilities]:
    """The model as a function from uint8 (B, T, H, W, 3) to float32 (B, classes).

    On TensorFlow it is compiled once, for any B. predict_on_batch compiles again for another B, so
    that an answer could depend on those before it, and a call of it takes about 0.3 ms longer; the
    smallest models answer in 5 ms.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return lambda clips: np.asarray(model.predict_on_batch(clips))
    import tensorflow as tf

    clip = tf.TensorSpec(model.input_shape, "uint8")
    forward = tf.function(
        lambda clips: model(clips, training=False),
        input_signature=[clip],
        autograph=False,
        jit_compile=model.jit_compile,
    ).get_concrete_function()
    return lambda clips: forward(tf.convert_to_tensor(clips)).numpy()


def load(folder: Path | str) -> Bundle:
    """Read a bundle; the model itself is loaded at its first use.

    Raises UserError for a folder that holds no bundle, or one that cannot be read.
    """
    folder = Path(folder)
    try:
        return Bundle(folder, Description.read(folder))
    except FileNotFoundError:
        raise UserError(f"{folder} holds no trained model: train one with `make repro`") from None


def library_versions() -> dict[str, str]:
    """The versions of the libraries that predictions depend on, Keras' backend among them."""
    import keras

    backend = keras.config.backend()
    names = ("kinoflow", "keras", backend, "numpy", "opencv-python-headless", "av")
    return {name: importlib.metadata.version(name) for name in names}
