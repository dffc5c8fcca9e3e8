"""What the service answers about a clip."""

from pydantic import BaseModel

from kinoflow.reports.card import Card


class Guess(BaseModel):
    label: str
    confidence: float


class Milliseconds(BaseModel):
    decode: float  # from the file to the clip; 0 for a clip that came as an array
    inference: float  # the model alone, without the wait until it is free


class Model(BaseModel):
    candidate: str
    bento: str  # its version
    device: str  # cpu:0, gpu:0


class Answer(BaseModel):
    """What the model sees in a video; confidences and probabilities lie in [0, 1]."""

    id: str  # by which feedback names this answer
    label: str
    confidence: float
    top: list[Guess]  # the likeliest first
    probabilities: dict[str, float]  # of every label, in the model's order
    milliseconds: Milliseconds
    model: Model


class ModelCard(Card):
    """What the model is, how good it is, and where it comes from."""

    bento: str  # its version
    device: str
    keep_footage: bool  # whether feedback may come with its video, which is then kept
