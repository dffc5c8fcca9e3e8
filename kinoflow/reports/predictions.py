"""A model's predictions for clips of the store, and the table of them."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.bundle import Bundle
from kinoflow.data.clips import ClipSet
from kinoflow.system.terminal import progress

_CHUNK = 64  # clips read from the store at a time


def predict(model: Bundle, clipset: ClipSet, what: str) -> NDArray[np.float32]:
    """Class probabilities (N, classes) of the clips of a set, not calibrated.

    `what` names the set in the progress.
    """
    starts = range(0, len(clipset), _CHUNK)
    return np.concatenate(
        [
            model.pooled(clipset.read(np.arange(start, min(start + _CHUNK, len(clipset)))))
            for start in progress(starts, f"evaluate {what} (steps of {_CHUNK} clips)")
        ]
    )


def prediction_table(
    clipset: ClipSet, probabilities: NDArray[np.float32], labels: tuple[str, ...]
) -> pd.DataFrame:
    """The table `tables.PREDICTIONS`: one row per clip.

    Args:
        clipset: the clips.
        probabilities: (N, classes) those of the clips, calibrated.
        labels: the name of each class.
    """
    names = np.array(labels)
    table = pd.DataFrame(
        {
            "video": clipset.videos,
            "label": names[clipset.labels],
            "predicted": names[probabilities.argmax(axis=1)],
        }
    )
    return table.join(pd.DataFrame(probabilities, columns=[f"p_{label}" for label in labels]))
