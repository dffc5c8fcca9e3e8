"""A form: a folder with a trained model in another format, which answers as its bundle does.

It holds the model, bundle.json as the bundle has it, form.json (the `Details`), and the files of
`kinoflow.compress.runner`, by which it answers without kinoflow.
"""

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

from kinoflow import bundle
from kinoflow.bundle import Bundle, Description, Probabilities
from kinoflow.compress import batches, formats
from kinoflow.system import documents, files
from kinoflow.system.errors import UserError
from kinoflow.system.sandbox import cores
from kinoflow.video.spec import Frames

if TYPE_CHECKING:
    import keras

DETAILS = "form.json"


class Details(BaseModel):
    """What form.json says about the model beside it, and how far it is from the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    precision: str  # float32; float16, bfloat16: of weights alone; int8: of layers too
    file: str  # of the model; a folder in the format keras
    batch: int = 1  # how many views the model takes at a time
    versions: dict[str, str]  # of what made it
    bytes: int  # of the model
    bundle_bytes: int  # of model.keras
    compared_on: str  # which clips the two have answered
    clips: int  # how many
    largest_change: float  # of a probability, from the bundle's answer to the form's
    agreement: float  # share of clips with the same label
    milliseconds: float  # for a clip, where the form was made
    bundle_milliseconds: float
    int8_layers: int = 0  # how many compute in int8; 0 in LiteRT, which does not say
    float_layers: int = 0  # how many could, and stayed in float because that lost too much

    @classmethod
    def read(cls, folder: Path) -> "Details":
        """Read form.json in a folder.

        Raises FileNotFoundError if there is none, and UserError if it is damaged or of another
        version of kinoflow.
        """
        return documents.read_model(cls, folder / DETAILS)

    def write(self, folder: Path) -> None:
        """Write form.json into a folder."""
        files.write_json(folder / DETAILS, self.model_dump(mode="json"))


@dataclass(frozen=True)
class Form(Bundle):
    """A trained model in another format that classifies clips; see `Bundle.predict`.

    Views, averages and calibration are the bundle's. Only `forward` differs: it computes in the
    format's runtime, `Details.batch` views at a time. Several threads may call it.
    """

    is_network: ClassVar[bool] = False

    details: Details = field(kw_only=True)
    threads: int = field(default=0, kw_only=True)  # that may compute; 0: as the runtime decides
    calls: int = field(default=1, kw_only=True)  # of `forward` at a time, which share the threads

    @cached_property
    def model(self) -> "keras.Model":
        """Raises UserError: a form has no Keras model."""
        raise UserError(
            f"{self.folder} holds a model for {self.details.format}: this takes the bundle that it "
            "was exported from"
        )

    @cached_property
    def forward(self) -> Callable[[Frames], Probabilities]:
        """The model in its runtime, from `views` of any clips to the probabilities of each.

        Batches of one clip's views are answered side by side, unless callers are side by side
        themselves: a small network keeps one core busy, and not all.
        """
        path, form, size = self.folder / self.details.file, self.details.format, self.details.batch
        count = -(-batches.views(self) // size)
        together = min(count, self.threads or cores()) if self.calls == 1 else 1
        run = runtime(path, form, self.threads, max(self.calls, together))
        if together == 1:
            return batches.in_batches(run, size)
        lanes = ThreadPoolExecutor(together, thread_name_prefix="view")
        return batches.in_batches(run, size, lanes.map)


def runtime(
    path: Path, form: str, threads: int = 0, calls: int = 1
) -> Callable[[Frames], Probabilities]:
    """A model's file in its runtime: views (B, T, H, W, 3) to probabilities (B, classes).

    B is what the file has: `Details.batch`.

    Args:
        path: the file, or the folder of a SavedModel.
        form: the name of its format.
        threads: how many may compute; 0: as the runtime decides.
        calls: how many threads call the function at a time, and share those that compute.

    Raises UserError if the runtime is not installed.
    """
    formats.check_runtime(formats.find(form))
    module = importlib.import_module(f"kinoflow.compress.runner.runtime_{form}")
    run: Callable[[Frames], Probabilities] = module.load(path, threads, calls)
    return run


def load(folder: Path | str, *, threads: int = 0, calls: int = 1) -> Form:
    """Read a form; the model itself is loaded at its first use.

    Args:
        folder: the form's.
        threads: how many may compute; 0: as the runtime decides.
        calls: how many threads ask it at a time, and share those that compute.

    Raises UserError for a folder that holds no form, or one that cannot be read.
    """
    folder = Path(folder)
    try:
        details, description = Details.read(folder), Description.read(folder)
    except FileNotFoundError:
        raise UserError(
            f"{folder} holds no exported model: make one by `kinoflow export`"
        ) from None
    return Form(folder, description, details=details, threads=threads, calls=calls)


def load_any(folder: Path | str, *, threads: int = 0, calls: int = 1) -> Bundle:
    """Read a bundle or a form of one.

    Args:
        folder: of either.
        threads: as for `load`; a bundle computes as Keras does.
        calls: as for `load`.

    Raises UserError for a folder that holds neither, or one that cannot be read.
    """
    if (Path(folder) / DETAILS).exists():
        return load(folder, threads=threads, calls=calls)
    return bundle.load(folder)
