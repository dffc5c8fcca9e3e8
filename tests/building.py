"""Models as candidates of params.yaml have them."""

import keras

from kinoflow import models
from kinoflow.config import Candidate
from kinoflow.video import ClipSpec


def build(candidate: Candidate, stored: ClipSpec, classes: int) -> keras.Model:
    """The candidate's model for clips as `stored`."""
    return models.build(candidate.model, stored, candidate.spec(stored), classes, candidate.options)
