"""The JSON documents that stages leave for each other and for people, as checked models.

They are read and written only here. For a file that is damaged, or that another version of
kinoflow wrote, the error is one line that names the stage to run again.
"""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from kinoflow import config
from kinoflow.system import documents, files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace

_SHOWN = 3  # how many of a finding's videos the terminal shows


class Record(BaseModel):
    """A document or a part of one: unknown fields are refused, and no field can be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Document(Record):
    """A whole JSON file. It holds the fields in the order of their declaration."""

    stage: ClassVar[str]  # which stage writes it

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the document from the file `path`.

        Raises FileNotFoundError if there is no such file, and UserError for a file that is not
        such a document; the error says what is wrong and which stage to run again.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise UserError(
                f"{path} is not what the stage {cls.stage} writes: "
                f"{documents.describe(error, cls)}; run that stage again"
            ) from None

    def write(self, path: Path) -> None:
        """Write the document to the file `path`, whole or not at all, without fields at None."""
        files.write_json(path, self.model_dump(exclude_none=True))


class Finding(Record):
    """An expectation that the data does not meet."""

    table: str
    expectation: str  # its name in Great Expectations
    column: str
    severity: str  # critical or warning
    meaning: str  # the expectation in plain words
    videos: tuple[str, ...]  # the first few that do not meet it, sorted
    count: int  # how many videos do not meet it; 0 if it is about the table as a whole

    def __str__(self) -> str:
        """One line for the terminal."""
        text = f"{self.table}.{self.column} {self.expectation} ({self.meaning})"
        shown = self.videos[:_SHOWN]
        more = f" and {self.count - len(shown)} more" if self.count > len(shown) else ""
        return f"{text}: {', '.join(shown)}{more}" if shown else text


class Verdict(Document):
    """work/validation.json: whether the data may be trained on."""

    stage = "validate"

    passed: bool
    split: str  # the value of split.method
    failures: tuple[Finding, ...] = ()  # findings that forbid training
    warnings: tuple[Finding, ...] = ()


def require_validated(path: Path) -> None:
    """Raise UserError unless the stage validate, whose verdict is in `path`, let the data pass."""
    if not path.exists():
        raise UserError("the data was not validated: run `python -m stages.validate` first")
    verdict = Verdict.read(path)
    if not verdict.passed:
        reasons = "; ".join(
            f"{failure.table}.{failure.column}: expected that {failure.meaning}"
            for failure in verdict.failures
        )
        raise UserError(f"the data failed validation ({reasons}): mend it, then train")


class TrainingTime(Document):
    """work/training/<candidate>/timing.json."""

    stage = "train"

    train_seconds: float


class Scores(Record):
    """The scores on one side of the split. Higher is better, except for calibration errors."""

    accuracy: float
    accuracy_low: float  # of the 95% interval, recordings resampled
    accuracy_high: float
    top5: float
    precision: float  # these three averaged over classes
    recall: float
    f1: float
    auc: float  # one class against the rest, averaged over classes
    ece: float  # expected calibration error
    ece_uncalibrated: float  # the same before calibration


class Accuracy(Record):
    """An accuracy with its 95% interval, recordings resampled."""

    accuracy: float
    accuracy_low: float
    accuracy_high: float


class Orders(Record):
    """What a model scores on test clips whose frames are in another order."""

    shuffled: Accuracy
    reversed: Accuracy
    frozen: Accuracy  # one frame repeated


class Metrics(Document):
    """reports/<candidate>/metrics.json: what depends only on the model and the clips."""

    stage = "evaluate"

    val: Scores
    test: Scores
    parameters: int
    size_mb: float  # of model.keras
    epochs: int  # trained for
    temperature: float  # that probabilities are calibrated with
    time: Orders | None = None  # None if `evaluation.orders` is off
    folds: int | None = None  # that the scores come from; None: from the split


class Refit(Document):
    """reports/refit.json: whether and how the winner was trained once more before packaging."""

    stage = "refit"

    refit: bool  # if false, the packaged model is models/<winner>, and the rest is not there
    candidate: str | None = None
    epochs: int | None = None  # as many as were best when it was trained with validation clips
    trained_on: tuple[str, ...] = ()  # sides of the split
    clips: int | None = None  # on these sides
    test: Scores | None = None  # None as well if no clips are left to test on


def packaged(workspace: Workspace, winner: str) -> Path:
    """The folder of the bundle that is packaged: the winner's, or the one of the stage refit."""
    path = workspace.refit_record
    if path.exists() and Refit.read(path).candidate == winner:
        return workspace.refit / winner
    return workspace.bundle(winner)


class Timing(Document):
    """reports/<candidate>/timing.json: what a clock measured."""

    stage = "evaluate"

    latency_ms: float  # median time to classify one clip, decoding not included
    train_seconds: float
    # seconds of footage that are classified in a second, decoding not included; None if no
    # container states a frame rate
    video_seconds_per_s: float | None = None


class Evaluated(Document):
    """work/evaluated/<candidate>.json: by what the report of a candidate is recognised."""

    stage = "evaluate"

    files: dict[str, str]  # the MD5 of each file of reports/<candidate>/ by its name


class CandidateScores(Document):
    """work/scores/<candidate>.json: all that selection may use, so no test scores."""

    stage = "evaluate"

    val: Scores
    parameters: int
    size_mb: float
    latency_ms: float


class Rival(Record):
    """A candidate that did not win."""

    score: float
    refused: str | None = None  # the limit of `selection` that it exceeds, in words


class Winner(Document):
    """reports/winner.json: which candidate won, and why."""

    stage = "select"

    winner: str
    reason: str  # in a sentence, without its full stop
    metric: str  # which score decided, such as val.accuracy
    score: float  # the winner's
    against: dict[str, Rival]  # the other candidates by name, the best first


class Choice(Document):
    """reports/choice.json: in which form the winner is packaged, and why."""

    stage = "choose"

    candidate: str
    form: str | None = None  # its name in work/forms/<candidate>/; None: the bundle itself
    reason: str  # in a sentence, without its full stop


def chosen_form(workspace: Workspace) -> tuple[str, Path] | None:
    """The candidate and the folder of the form that is packaged; None: the winner's bundle is."""
    if not workspace.choice.exists():
        return None
    choice = Choice.read(workspace.choice)
    if choice.form is None:
        return None
    return choice.candidate, workspace.forms / choice.candidate / choice.form


class Interval(Record):
    """A mean over clips, with its 95% interval, recordings resampled."""

    mean: float
    low: float
    high: float


class Pointing(Record):
    """Whether evidence lies on the actor."""

    clips: int
    share: float  # of the evidence inside the actor's box
    area: float  # the share that evenly spread evidence would have
    more: Interval  # share less area


class Forgotten(Record):
    """Layers that were randomised together, after those of the steps before."""

    layers: tuple[str, ...]
    similarity: Interval  # of maps to those of the trained model, rank correlation


class Obeyed(Record):
    """Areas below the curves of the answer's probability as parts go or come."""

    clips: int
    deletion: float  # those with the most evidence first: less is better
    insertion: float  # those with the most evidence first: more is better
    random: float  # both, in random order
    falls_faster: Interval  # random less deletion
    returns_faster: Interval  # insertion less random


class Proofs(Document):
    """reports/explain/proofs.json: whether explanations of the winner's answers can be believed."""

    stage = "explain"

    winner: str
    method: str  # of the maps
    pointing: Pointing | None = None  # None where nobody knows where the actor is
    randomisation: tuple[Forgotten, ...]  # the last layers first
    space: Obeyed  # places by the maps
    time: Obeyed | None = None  # eighths of time by their Shapley values; of explained clips


class ServiceSettings(config.Service, Document):
    """serving.json in a Bento: the keys of the section `serving` that the service needs."""

    stage = "package"
