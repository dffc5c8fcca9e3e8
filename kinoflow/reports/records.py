"""The JSON documents that stages leave for each other and for people, as checked models.

Each is read and written here alone. A file that is damaged, or that another version of kinoflow
wrote, is one line that names the stage to run again.
"""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from kinoflow import config
from kinoflow.system import files
from kinoflow.system.errors import UserError

_SHOWN = 3  # how many videos of a finding the terminal names


class Record(BaseModel):
    """Part of a document: every field is known and checked, and none changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Document(Record):
    """A whole JSON file. Fields stand in it in the order of their declaration."""

    stage: ClassVar[str]  # which stage writes it

    @classmethod
    def read(cls, path: Path) -> Self:
        """The document in the file `path`.

        Raises UserError, with what is wrong and which stage to run again, for a file that is not
        such a document, and FileNotFoundError if there is none.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise UserError(
                f"{path} is not what the stage {cls.stage} writes: {_first(error)}; run that stage "
                "again"
            ) from None

    def write(self, path: Path) -> None:
        """Write the document to the file `path`, whole or not at all; None is left out."""
        files.write_json(path, self.model_dump(exclude_none=True))


class Finding(Record):
    """An expectation that the data does not meet."""

    table: str
    expectation: str  # its name in Great Expectations
    column: str
    severity: str  # critical or warning
    meaning: str  # the expectation in plain words
    videos: tuple[str, ...]  # the first few that do not meet it, sorted
    count: int  # how many do not; 0 if it is about the table as a whole

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
    failures: tuple[Finding, ...] = ()  # what training must not pass by
    warnings: tuple[Finding, ...] = ()


class TrainingTime(Document):
    """work/training/<candidate>/timing.json."""

    stage = "train"

    train_seconds: float


class Scores(Record):
    """How good the answers to the clips of one side are; all but ece: higher is better."""

    accuracy: float
    accuracy_low: float  # of the 95% interval, recordings resampled
    accuracy_high: float
    top5: float
    precision: float  # these three averaged over classes
    recall: float
    f1: float
    auc: float  # one class against the rest, averaged over classes
    ece: float  # expected calibration error


class Metrics(Document):
    """reports/<candidate>/metrics.json: the same whenever the model and the clips are."""

    stage = "evaluate"

    val: Scores
    test: Scores
    parameters: int
    size_mb: float  # of model.keras
    epochs: int  # trained for


class Timing(Document):
    """reports/<candidate>/timing.json: what a clock measured."""

    stage = "evaluate"

    latency_ms: float  # median answer to one clip, decoding not included
    train_seconds: float


class CandidateScores(Document):
    """work/scores/<candidate>.json: all that selection may know, so no test scores."""

    stage = "evaluate"

    val: Scores
    parameters: int
    size_mb: float
    latency_ms: float


class Rival(Record):
    """A candidate that did not win."""

    score: float
    refused: str | None = None  # which limit of `selection` it breaks


class Winner(Document):
    """reports/winner.json: which candidate won, and why."""

    stage = "select"

    winner: str
    reason: str  # in a sentence, without its full stop
    metric: str  # which score decided, such as val.accuracy
    score: float  # the winner's
    against: dict[str, Rival]  # by name, the best first


class ServiceSettings(config.Service, Document):
    """serving.json in a Bento: the section `serving` as far as the running service needs it."""

    stage = "package"


def _first(error: ValidationError) -> str:
    """The first of the problems, with where it is."""
    problem, *others = error.errors(include_url=False)
    where = ".".join(map(str, problem["loc"]))
    more = f" (and {len(others)} more)" if others else ""
    return f"{where}: {problem['msg']}{more}".removeprefix(": ")
