"""What a model answers to clips of the store, and the table of it."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.bundle import Bundle
from kinoflow.data.clips import ClipSet
from kinoflow.system.terminal import progress

_CHUNK = 64  # clips read from the store at a time


def predict(model: Bundle, clipset: ClipSet, what: str) -> NDArray[np.float32]:
    """Probabilities (N, classes) of all clips of a set, under a progress bar that says `what`."""
    starts = range(0, len(clipset), _CHUNK)
    return np.concatenate(
        [
            model.predict(clipset.read(np.arange(start, min(start + _CHUNK, len(clipset)))))
            for start in progress(starts, f"evaluate {what} (steps of {_CHUNK} clips)")
        ]
    )


def prediction_table(
    clipset: ClipSet, answers: NDArray[np.float32], labels: tuple[str, ...]
) -> pd.DataFrame:
    """One row per clip: video, label, predicted, and p_<label> for every class."""
    names = np.array(labels)
    table = pd.DataFrame(
        {
            "video": clipset.videos,
            "label": names[clipset.labels],
            "predicted": names[answers.argmax(axis=1)],
        }
    )
    return table.join(pd.DataFrame(answers, columns=[f"p_{label}" for label in labels]))
