"""Structured pruning: a smaller network of the channels that are worth most, trained once more."""

from pathlib import Path
from typing import Literal

import keras
import numpy as np

from kinoflow.bundle import Bundle
from kinoflow.compress import rewrite, shrink
from kinoflow.compress.fine_tune import fine_tune
from kinoflow.compress.importance import by_size, by_taylor
from kinoflow.compress.settings import FineTune
from kinoflow.config import Run
from kinoflow.system.errors import UserError
from kinoflow.training.fit import TrainingData

Criterion = Literal["size", "taylor"]


def pruned(
    original: Bundle,
    run: Run,
    data: TrainingData,
    share: float,
    settings: FineTune,
    folder: Path,
    criterion: Criterion = "size",
) -> Bundle:
    """Take whole channels out of a bundle's network, and write what is left as another bundle.

    Channels that belong together go together, those that are worth least. What is left is
    fine-tuned with the original as its teacher. It loads, exports and learns as any other bundle.

    Args:
        original: the bundle; it is left as it is.
        run: the settings that it was trained with.
        data: what it was trained on.
        share: of the channels of each group that are taken out, above 0 and below 1. Where
            normalisation allows only some numbers, the nearest.
        settings: of the fine-tuning.
        folder: the new bundle's; a bundle that is already there is replaced.
        criterion: what a channel is worth: `size`, the squares of its weights, or `taylor`, how
            much the loss on training clips changes without it (`kinoflow.compress.importance`).
            Size, since neither is better for all candidates (docs/compressing.md).

    Raises UserError for a network without channels that can go, one that is too small for the
    share, and fine-tuning that diverges.
    """
    rewrite.begin(run)
    network = _smaller(original, run, data, share, criterion)
    rewrite.thaw(network)
    fine_tune(network, original, run, data, settings)
    return rewrite.write(folder, network, original, data)


def _smaller(
    original: Bundle, run: Run, data: TrainingData, share: float, criterion: Criterion
) -> keras.Model:
    """The network without the share of its channels that are worth least, not yet trained."""
    name = original.description.name
    graph = shrink.channels_of(original.model)
    groups = graph.groups()
    if not groups:
        raise UserError(f"{name} cannot be pruned: its network has no channels that can go")
    worth = by_size(graph) if criterion == "size" else by_taylor(original.model, graph, run, data)
    gone = []
    for group in groups:
        count = max(1, round(len(group.channels) * (1 - share)))
        gone.append(np.setdiff1d(group.channels, shrink.spared(group, worth, count)))
    if not any(map(len, gone)):
        raise UserError(f"{name} has too few channels to lose a share of {share}: prune more")
    return shrink.without(original.model, graph, np.concatenate(gone))
