"""Answers as the monitor compares them: a row for each, in arrays."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kinoflow.monitor.features import Features
from kinoflow.monitor.inputs import NUMBERS

Texts = NDArray[np.str_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What was measured of N answers.

    Args:
        numbers: (N, 8), the columns of `inputs.NUMBERS`; NaN where a value is not known.
        codec: (N,); "" where it is not known.
        label: (N,), what was answered.
        confidence: (N,), in the label.
        features: (N, F) of the model.
    """

    numbers: Floats
    codec: Texts
    label: Texts
    confidence: Floats
    features: Features

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """These rows, in this order."""
        return type(self)(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})

    def number(self, name: str) -> Floats:
        """One column of the numbers, (N,)."""
        column: Floats = self.numbers[:, NUMBERS.index(name)]
        return column


@dataclass(frozen=True)
class HeldOut(Answers):
    """Answers to clips that the model was neither trained on nor chosen to fit.

    Args:
        recording: (N,), which recording a clip was cut from.
        truth: (N,), the label that is right.
    """

    recording: Texts
    truth: Texts


@dataclass(frozen=True)
class Served(Answers):
    """Answers of the service, the oldest first.

    Args:
        id: (N,), by which feedback names an answer.
        time: (N,), seconds since 1970.
        footage: (N,), the name of the video in the folder of samples; "" if it was not kept.
    """

    id: Texts
    time: Floats
    footage: Texts
