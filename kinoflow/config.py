"""params.yaml as frozen models: every key is known, every value is checked.

params.yaml itself explains each key; docs/training.md says more about `training` and `augment`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from kinoflow.models import registry
from kinoflow.system import documents
from kinoflow.system.cluster import Pool
from kinoflow.system.errors import UserError
from kinoflow.system.sandbox import Bounds
from kinoflow.video.spec import ClipSpec

Fraction = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
# a candidate's name is a folder in models/ and reports/, and part of a Bento's version
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
# how an explanation finds evidence in space: docs/explaining.md
Method = Literal["gradcam", "rollout", "occlusion", "integrated_gradients", "gradients", "shap"]
METHODS: tuple[Method, ...] = get_args(Method)
# as the teacher of a student: whichever of `candidates` wins by its validation score
WINNER = "winner"
# reports/ has folders of these names already
_RESERVED = {"compress", "explain", "explore", "figures", "monitor", "style", "validation"}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Synthetic(_Section):
    classes: Annotated[int, Field(ge=2, le=6)] = 6
    groups: Count = 20
    clips_per_group: Count = 3
    width: Annotated[int, Field(ge=32, le=1920)] = 160
    height: Annotated[int, Field(ge=32, le=1080)] = 120


class Dataset(_Section):
    source: Literal[
        "synthetic",
        "folder",
        "archive",
        "ucf101",
        "ucf50",
        "hmdb51",
    ] = "synthetic"
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
    method: Literal[
        "stratified_group",
        "official",
        "leave_one_group_out",
        "group_kfold",
        "random",
    ]
    val: Fraction
    test: Fraction
    fold: Annotated[int, Field(ge=1, le=99)] = 1
    folds: Annotated[int, Field(ge=2, le=99)] = 5
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
                "method random leaks, since it keeps no recording together: if you still want it, "
                "to compare with published scores, set split.near_duplicates to warn as well"
            )
        return self


class Augment(_Section):
    """How clips are changed at random in training; each change is off by default."""

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
    restyle: Probability = 0.0
    styles: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _has_styles(self) -> "Augment":
        if self.restyle and not self.styles:
            raise ValueError("restyle needs styles: names of networks in style/networks")
        return self


class Training(_Section):
    """How weights are fitted to clips."""

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
    refit: bool = False


class Distil(_Section):
    """How a student learns from its teachers: docs/training.md."""

    share: Probability = 0.9  # of the teachers in the loss; the rest is the labels'
    temperature: Annotated[float, Field(gt=0)] = 2.0  # by which answers are softened
    unlabelled: bool = True  # whether it learns from the footage in unlabelled/ as well


class Candidate(_Section):
    """One architecture under comparison, with its own settings; a student if it has a teacher."""

    model: str  # a name in kinoflow.models.registry
    frames: Count | None = None  # that the model takes of a clip; None: as the clip store has it
    height: Count | None = None
    width: Count | None = None
    augment: dict[str, Any] = {}  # keys of the section `augment` that differ for this candidate
    training: dict[str, Any] = {}  # keys of the section `training` that differ for this candidate
    options: dict[str, Any] = {}  # arguments of the model's builder
    # names of candidates whose mean answer it learns, or `winner`; empty for all but students
    teacher: tuple[Name, ...] = ()
    distil: Distil = Distil()

    @field_validator("model")
    @classmethod
    def _exists(cls, model: str) -> str:
        registry.check(model)
        return model

    @field_validator("teacher", mode="before")
    @classmethod
    def _one_or_several(cls, teacher: object) -> object:
        return (teacher,) if isinstance(teacher, str) else teacher

    @model_validator(mode="after")
    def _learns_from_a_teacher(self) -> "Candidate":
        if not self.teacher and "distil" in self.model_fields_set:
            raise ValueError("distil is for those that have a teacher")
        return self

    @model_serializer(mode="wrap")
    def _own(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what only students have, so that bundles of others say nothing of it."""
        values: dict[str, Any] = dump(self)
        if not self.teacher:
            del values["teacher"], values["distil"]
        return values

    def spec(self, stored: ClipSpec) -> ClipSpec:
        """The frames and pixels that the model takes of clips that are stored as `stored`."""
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
    orders: bool = True
    learning_curve: bool = False


class Explain(_Section):
    method: Method | Literal["auto"]
    errors: Annotated[int, Field(ge=0)]
    confused: Annotated[int, Field(ge=0)]
    right: Annotated[int, Field(ge=0)]
    proof_clips: Count


class Selection(_Section):
    metric: Literal["accuracy", "f1", "auc"]
    tie: Annotated[float, Field(ge=0)]
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    max_size_mb: Annotated[float, Field(gt=0)] | None = None


class Service(_Section):
    """The keys of the section `serving` that the running service needs."""

    top_k: Count
    max_upload_mb: Annotated[float, Field(gt=0)]
    timeout_s: Annotated[float, Field(gt=0)]
    max_concurrency: Count
    memory_mb: Annotated[int, Field(ge=64)]
    decoders: Annotated[int, Field(ge=0)]
    state: Annotated[str, Field(min_length=1)] = ".serving"
    state_mb: Annotated[float, Field(gt=0)] = 2000.0
    keep_footage: bool = False
    max_jobs: Count = 16
    job_timeout_s: Annotated[float, Field(gt=0)] = 3600.0
    job_hours: Annotated[float, Field(gt=0)] = 24.0
    uploads_mb: Annotated[float, Field(gt=0)] = 1600.0
    max_seconds: Annotated[float, Field(gt=0)] = 7200.0
    max_frames: Count = 500_000
    max_megapixels: Annotated[float, Field(gt=0)] = 36.0
    max_batch: Count = 8
    batch_wait_ms: Annotated[float, Field(ge=0)] = 2.0
    timeline_windows: Count = 64
    max_live: Count = 4
    api_keys_file: str | None = None
    requests_per_minute: Count = 600
    sample: Annotated[int, Field(ge=0)] = 5000
    sample_footage_mb: Annotated[float, Field(ge=0)] = 0.0
    gpu_precision: Literal["float32", "bfloat16", "float16"] = "float32"


class Serving(Service):
    """The section `serving`: the service's settings, and how it is packaged and checked."""

    gpu: bool
    check_videos: Count
    style: Name | None = None


def _five_fields(cron: str) -> str:
    if len(cron.split()) != 5:
        raise ValueError("a cron has five fields: minute, hour, day, month, weekday")
    return cron


Cron = Annotated[str, AfterValidator(_five_fields)]


class Validation(_Section):
    """How far new data may differ from those that were accepted last before training stops."""

    unreadable_jump: Probability = 0.02
    look_alpha: Probability = 0.01
    accept: tuple[str, ...] = ()


class Retrain(_Section):
    cron: Cron
    timezone: str
    stage_timeout_s: Annotated[float, Field(gt=0)] = 86400.0
    git: bool = False
    branch: Annotated[str, Field(min_length=1)] = "retrain"
    remote: str | None = None


class Promotion(_Section):
    """What a challenger has to show before it replaces the champion."""

    margin: Probability = 0.02
    confidence: Fraction = 0.95
    min_clips: Count = 30
    class_floor: Probability = 0.3
    class_floors: dict[str, Probability] = {}
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    max_size_mb: Annotated[float, Field(gt=0)] | None = None
    max_calibration_error: Probability = 0.2
    hold_hours: Annotated[float, Field(gt=0)] = 72.0


class Monitor(_Section):
    """When what the service saw is compared with what the model was tested on, and what follows."""

    cron: Cron = "0 6 * * *"
    answers: Annotated[int, Field(ge=20)] = 200
    permutations: Annotated[int, Field(ge=100)] = 1000
    false_alarms: Fraction = 0.05
    max_error: Probability = 0.3
    retrain: bool = True
    cooldown_hours: Annotated[float, Field(ge=0)] = 24.0


Event = Literal["failure", "hold", "promotion", "drift"]


class Notify(_Section):
    """Which blocks of Prefect hear of what happens."""

    blocks: tuple[str, ...] = ()
    events: tuple[Event, ...] = get_args(Event)


class Compute(_Section):
    parallel: Count = 1
    workers: Annotated[int, Field(ge=0)]
    videos_per_task: Count
    timeout_s: Annotated[float, Field(gt=0)]
    memory_mb: Annotated[int, Field(ge=64)]
    dask_address: str | None = None

    @property
    def pool(self) -> Pool:
        """Where videos are decoded, and how much time and memory each video may take."""
        bounds = Bounds(self.timeout_s, self.memory_mb, self.workers)
        return Pool(bounds, self.videos_per_task, self.dask_address)


@dataclass(frozen=True)
class Run:
    """All settings of one candidate's training: the common ones, overridden by its own.

    The data that it is trained on are not part of it.
    """

    name: str
    candidate: Candidate  # as params.yaml has it
    clip: ClipSpec  # of the clips in the store
    model_clip: ClipSpec  # what the model takes of them: at most as many frames and pixels
    training: Training
    augment: Augment
    seed: int
    views: int  # temporal views that a prediction averages; see kinoflow.video.sampling
    flip: bool  # whether a prediction averages mirrored views as well


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
    # those of the section `students` as well, after the others
    candidates: Annotated[dict[Name, Candidate], Field(min_length=1)]
    students: dict[Name, Candidate] = {}
    evaluation: Evaluation
    selection: Selection
    explain: Explain
    validation: Validation = Validation()
    serving: Serving
    retrain: Retrain
    promotion: Promotion = Promotion()
    monitor: Monitor = Monitor()
    notify: Notify = Notify()
    compute: Compute
    # these two are checked by kinoflow.compress.settings and kinoflow.style.settings, so that a
    # change there trains no classifier anew
    compress: dict[str, Any] = {}
    style: dict[str, Any] = {}

    @model_validator(mode="after")
    def _students_have_teachers(self) -> "Params":
        others = [name for name in self.candidates if name not in self.students]
        for name, student in self.students.items():
            section = f"students.{name}"
            if self.candidates.get(name, student) != student:
                raise ValueError(f"{section}: there is a candidate of this name, choose another")
            if not student.teacher:
                raise ValueError(f"{section} has no teacher: name one, or list it in candidates")
            for teacher in student.teacher:
                if teacher == name:
                    raise ValueError(f"{section}.teacher: it cannot be its own teacher")
                if teacher in self.students:
                    raise ValueError(
                        f"{section}.teacher: {teacher} is a student itself, and teachers are those "
                        "in candidates"
                    )
                if teacher not in (*others, WINNER):
                    raise ValueError(
                        f"{section}.teacher: there is no candidate {teacher}; "
                        f"there are {', '.join(others)}"
                    )
        self.candidates.update(self.students)
        return self

    @model_validator(mode="after")
    def _candidates_fit(self) -> "Params":
        for name, candidate in self.candidates.items():
            section = self._section(name)
            if name in _RESERVED:
                raise ValueError(f"{section}: this name is taken, choose another")
            for field in ("frames", "height", "width"):
                wanted, stored = getattr(candidate, field), getattr(self.clip, field)
                if wanted is not None and wanted > stored:
                    raise ValueError(
                        f"{section}.{field} is {wanted}, but the clips hold {stored}: "
                        f"raise clip.{field} or lower this one"
                    )
            if "refit" in candidate.training:
                raise ValueError(
                    f"{section}.training.refit: the winner is trained once more, whichever "
                    "it is: set training.refit instead"
                )
            augment = self.resolve(name).augment
            if self.evaluation.flip and (augment.flip_except or not augment.flip):
                raise ValueError(
                    "evaluation.flip averages over mirrored clips, but training does not mirror "
                    f"all clips (augment.flip, augment.flip_except; candidate {name}): set "
                    "evaluation.flip to false"
                )
        return self

    def _section(self, name: str) -> str:
        """The key of a candidate in params.yaml."""
        return f"{'students' if name in self.students else 'candidates'}.{name}"

    def resolve(self, name: str) -> Run:
        """The settings of the candidate called `name`.

        Raises UserError if there is no candidate of that name.
        """
        if name not in self.candidates:
            raise UserError(
                f"no candidate {name!r} in params.yaml; there are {', '.join(self.candidates)}"
            )
        candidate = self.candidates[name]
        section = self._section(name)
        return Run(
            name=name,
            candidate=candidate,
            clip=self.clip,
            model_clip=candidate.spec(self.clip),
            training=_overridden(self.training, candidate.training, f"{section}.training"),
            augment=_overridden(self.augment, candidate.augment, f"{section}.augment"),
            seed=self.seed,
            views=self.evaluation.views,
            flip=self.evaluation.flip,
        )


def load(path: Path) -> Params:
    """Read params.yaml.

    Raises UserError for a file that is missing, is not YAML, has an unknown key or a value out of
    range; the error names the file, the key and what is wrong with it.
    """
    try:
        values = documents.read_yaml(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run this at the root of the repository") from None
    return checked(values, path)


def checked(values: object, source: Path) -> Params:
    """Check values that were read from the file `source`, and return them as params.

    Raises UserError that names the key at fault.
    """
    listed = values.get("candidates") if isinstance(values, dict) else None
    for name, candidate in listed.items() if isinstance(listed, dict) else ():
        if isinstance(candidate, dict) and candidate.get("teacher"):
            raise UserError(
                f"{source}: candidates.{name}.teacher: a candidate with a teacher is trained after "
                "the others, so list it in the section students"
            )
    return documents.checked(Params, values, source)


S = TypeVar("S", bound=_Section)


def _overridden(common: S, own: dict[str, Any], section: str) -> S:
    """A common section with a candidate's own values in it; errors call these `section`."""
    try:
        return type(common).model_validate(common.model_dump() | own)
    except ValidationError as error:
        raise ValueError(documents.describe(error, Params, section)) from None
