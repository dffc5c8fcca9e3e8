"""params.yaml as frozen models: every key is known, every value is checked, errors are one line."""

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from kinoflow.models import registry
from kinoflow.system.cluster import Pool
from kinoflow.system.errors import UserError
from kinoflow.system.sandbox import Bounds
from kinoflow.video.spec import ClipSpec

Fraction = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
# folders beside the candidates' in reports/
_RESERVED = {"explore", "validation"}
# of models and of dataclasses
_UNKNOWN_KEY = {"extra_forbidden", "unexpected_keyword_argument"}

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


T = TypeVar("T", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Synthetic(_Section):
    classes: Annotated[int, Field(ge=2, le=6)] = 6
    groups: Count = 20
    clips_per_group: Count = 3
    width: Annotated[int, Field(ge=32, le=1920)] = 160
    height: Annotated[int, Field(ge=32, le=1080)] = 120


class Dataset(_Section):
    source: Literal["synthetic", "folder", "archive", "ucf101", "ucf50", "hmdb51"] = "synthetic"
    path: str | None = None
    mirror: str | None = None
    lists: Path | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    clips_per_class: Count | None = None
    max_unpacked_gb: Annotated[float, Field(gt=0)] = 100
    synthetic: Synthetic = Synthetic()

    @model_validator(mode="after")
    def _has_path(self) -> "Dataset":
        if self.source == "folder" and self.path is None:
            raise ValueError("source: folder needs a path: the folder with your videos, or its URL")
        if self.source == "archive" and self.path is None:
            raise ValueError("source: archive needs a path: the file or URL of the archive")
        return self


class Catalog(_Section):
    max_unreadable: Probability


class Explore(_Section):
    videos_per_class: Count
    pairs_per_video: Count


class Duplicates(_Section):
    distance: Annotated[int, Field(ge=0, le=63)]
    similarity: Annotated[float, Field(gt=0, le=1)]


class Split(_Section):
    method: Literal["stratified_group", "official", "leave_one_group_out", "random"]
    val: Fraction
    test: Fraction
    fold: Annotated[int, Field(ge=1, le=99)] = 1
    near_duplicates: Literal["block", "merge", "warn"] = "merge"

    @model_validator(mode="after")
    def _leaves_training(self) -> "Split":
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val} and test {self.test} leave nothing to train on")
        return self

    @model_validator(mode="after")
    def _leaks_on_purpose(self) -> "Split":
        if self.method == "random" and self.near_duplicates != "warn":
            raise ValueError(
                "method random leaks and keeps nothing together: if numbers to compare with "
                "published ones are what you want, set split.near_duplicates to warn as well"
            )
        return self


class Augment(_Section):
    """What is not named is off."""

    flip: bool = False
    flip_except: tuple[str, ...] = ()
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shift: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    noise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    temporal_crop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rate: Annotated[float, Field(ge=0, lt=1)] = 0.0
    drop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixup: Annotated[float, Field(ge=0)] = 0.0


class Training(_Section):
    epochs: Count
    batch_size: Count
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    schedule: Literal["cosine", "constant"]
    warmup: Annotated[float, Field(ge=0, lt=1)]
    ema: Annotated[float, Field(ge=0, lt=1)]
    precision: Literal["float32", "bfloat16", "float16"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    patience: Count | None
    class_weights: Literal["balanced", "none"]


class Candidate(_Section):
    """One architecture under comparison; None means: as the clip store has it."""

    model: str  # a module of kinoflow.models
    frames: Count | None = None
    height: Count | None = None
    width: Count | None = None
    augment: dict[str, Any] = {}
    training: dict[str, Any] = {}
    options: dict[str, Any] = {}

    @field_validator("model")
    @classmethod
    def _exists(cls, model: str) -> str:
        registry.check(model)
        return model

    def spec(self, stored: ClipSpec) -> ClipSpec:
        """What the model sees, at most `stored`."""
        return replace(
            stored,
            frames=self.frames or stored.frames,
            height=self.height or stored.height,
            width=self.width or stored.width,
        )


class Evaluation(_Section):
    views: Count
    flip: bool
    bootstrap: Count
    calibration_bins: Count
    latency_clips: Count


class Selection(_Section):
    metric: Literal["accuracy", "f1", "auc"]
    tie: Annotated[float, Field(ge=0)]
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    max_size_mb: Annotated[float, Field(gt=0)] | None = None


class Service(_Section):
    """What the running service needs of the section `serving`."""

    top_k: Count
    max_upload_mb: Annotated[float, Field(gt=0)]
    timeout_s: Annotated[float, Field(gt=0)]
    max_concurrency: Count
    memory_mb: Annotated[int, Field(ge=64)]
    decoders: Annotated[int, Field(ge=0)]


class Serving(Service):
    """The section `serving`: what the service needs, and how it is packed and checked."""

    gpu: bool
    check_videos: Count


class Retrain(_Section):
    cron: str
    timezone: str

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, cron: str) -> str:
        if len(cron.split()) != 5:
            raise ValueError("a cron has five fields: minute, hour, day, month, weekday")
        return cron


class Compute(_Section):
    workers: Annotated[int, Field(ge=0)]
    videos_per_task: Count
    timeout_s: Annotated[float, Field(gt=0)]
    memory_mb: Annotated[int, Field(ge=64)]
    dask_address: str | None = None

    @property
    def pool(self) -> Pool:
        """Who decodes, and what decoding one video may take."""
        bounds = Bounds(self.timeout_s, self.memory_mb, self.workers)
        return Pool(bounds, self.videos_per_task, self.dask_address)


class Params(_Section):
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    dataset: Dataset
    catalog: Catalog
    clip: ClipSpec
    explore: Explore
    duplicates: Duplicates
    split: Split
    augment: Augment
    training: Training
    candidates: Annotated[dict[Name, Candidate], Field(min_length=1)]
    evaluation: Evaluation
    selection: Selection
    serving: Serving
    retrain: Retrain
    compute: Compute

    @model_validator(mode="after")
    def _candidates_fit(self) -> "Params":
        for name, candidate in self.candidates.items():
            if name in _RESERVED:
                raise ValueError(f"candidates.{name}: this name is taken, choose another")
            self.training_of(name)
            augment = self.augment_of(name)
            if self.evaluation.flip and (augment.flip_except or not augment.flip):
                raise ValueError(
                    "evaluation.flip averages over mirrored clips, but in training not all are "
                    f"mirrored (augment.flip, augment.flip_except; candidate {name}): set it to "
                    "false"
                )
            for field in ("frames", "height", "width"):
                wanted, stored = getattr(candidate, field), getattr(self.clip, field)
                if wanted is not None and wanted > stored:
                    raise ValueError(
                        f"candidates.{name}.{field} is {wanted}, but the clips hold {stored}: "
                        f"raise clip.{field} or lower it"
                    )
        return self

    def candidate(self, name: str) -> Candidate:
        """The candidate called `name`; UserError if there is none."""
        if name not in self.candidates:
            raise UserError(
                f"no candidate {name!r} in params.yaml; there are {', '.join(self.candidates)}"
            )
        return self.candidates[name]

    def training_of(self, name: str) -> Training:
        """The training section with the overrides of one candidate."""
        return self._overridden(name, "training", self.training)

    def augment_of(self, name: str) -> Augment:
        """The augment section with the overrides of one candidate."""
        return self._overridden(name, "augment", self.augment)

    def _overridden(self, name: str, section: str, default: T) -> T:
        overrides = getattr(self.candidates[name], section)
        try:
            return type(default).model_validate(default.model_dump() | overrides)
        except ValidationError as error:
            raise ValueError(_describe(error, f"candidates.{name}.{section}.")) from None


def load(path: Path) -> Params:
    """Read params.yaml.

    Raises UserError, with the file, the key and what is wrong with it, for a file that is
    missing, is not YAML, has an unknown key or a value out of range.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        raw = YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run this at the root of the repository") from None
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: not valid YAML: {error.problem}") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    return checked(raw, path)


def checked(raw: object, source: Path) -> Params:
    """What was read from `source` as params; UserError that names the key at fault."""
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{source}: {_describe(error)}") from None


def _describe(error: ValidationError, prefix: str = "") -> str:
    # a misspelt key is also a missing one: name the misspelling
    first, *others = sorted(error.errors(), key=lambda e: e["type"] not in _UNKNOWN_KEY)
    where = prefix + ".".join(str(part) for part in first["loc"])
    if first["type"] in _UNKNOWN_KEY:
        text = f"unknown key {where}{_nearest(first['loc'])}"
    elif first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        text = message if message.startswith("candidates.") else f"{where}: {message}".lstrip(": ")
    else:
        text = f"{where}: {first['msg']}"
        if first["type"] != "missing":
            text += f", got {first['input']!r}"
    return text + (f" (and {len(others)} more)" if others else "")


def _nearest(location: tuple[int | str, ...]) -> str:
    known: list[str] = []
    for model in _sections(Params):
        known += model.model_fields
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f": did you mean {close[0]}?" if close else ""


def _sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    found = [model]
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _sections(field.annotation)
    return [*found, Candidate]
