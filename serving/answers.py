"""What the service answers about a clip."""

from pydantic import BaseModel, ConfigDict

from kinoflow.reports.card import Card


class Said(BaseModel):
    """A part of an answer; the texts below its fields are in the OpenAPI description."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Guess(Said):
    """A label and its probability."""

    label: str
    confidence: float


class Milliseconds(Said):
    """How long parts of the work took; waiting is not counted."""

    decode: float
    """From the file to the clip; 0 for a clip that came as an array."""
    inference: float
    """The model alone, without the wait until it is free."""


class Model(Said):
    """What answered."""

    candidate: str
    """The name of the candidate in params.yaml."""
    bento: str
    """The version of the Bento."""
    device: str
    """Where the model ran, such as cpu:0 or gpu:0."""


class Segment(Said):
    """A stretch of a video with one label."""

    start: float
    """In seconds since the first frame, as all times of a timeline."""
    end: float
    label: str
    probability: float
    """Of the label, averaged."""


class Moment(Said):
    """The part of a video around the centre of a window."""

    start: float
    end: float
    label: str
    probabilities: list[float]
    """In the order of `labels`."""


class Timeline(Said):
    """What the model sees in a video, from moment to moment."""

    labels: list[str]
    window_seconds: float
    seconds: float
    """Of the video."""
    problem: str | None = None
    """Why that is less than it should be."""
    segments: list[Segment]
    moments: list[Moment]


class Answer(Said):
    """What the model sees in a video; confidences and probabilities lie in [0, 1]."""

    id: str
    """By which feedback names this answer."""
    label: str
    confidence: float
    top: list[Guess]
    """The likeliest first."""
    probabilities: dict[str, float]
    """Of every label, in the model's order."""
    milliseconds: Milliseconds
    model: Model
    seconds: float | None = None
    """Of the video; null for one whose file does not say, and for a clip that came as an array."""
    timeline: Timeline | None = None
    """Of a video of at least two windows, unless it has too many."""
    hint: str | None = None
    """Why a video of at least two windows has no timeline, and how to get one."""


class Refused(Said):
    """Why a request is refused."""

    error: str
    """A sentence that says why."""


class ModelCard(Card):
    """What the model is, how good it is, and where it comes from."""

    bento: str  # its version
    device: str
    keep_footage: bool  # whether feedback may come with its video, which is then kept
    style: str | None = None  # in which POST /style repaints videos; None: there is no such path
    not_served: str | None = None  # why the Bento that should be served now is not, if so
