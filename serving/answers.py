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


class Refused(Said):
    """Why a request is refused."""

    error: str
    """A sentence that says why."""


class ModelCard(Card):
    """What the model is, how good it is, and where it comes from."""

    bento: str  # its version
    device: str
    keep_footage: bool  # whether feedback may come with its video, which is then kept
