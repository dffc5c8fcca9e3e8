"""The scores of a training's epochs: which epoch is the best, and whether to stop early."""

from dataclasses import dataclass, field

import pandas as pd

Scores = dict[str, float]


@dataclass
class History:
    """The scores of the epochs so far.

    The best epoch is the one with the lowest validation loss, or, without patience, the last.

    Args:
        patience: how many epochs in a row may bring no lower validation loss before training
            stops. None: training never stops early, and the last epoch counts as the best.
        scores: for each epoch its loss, accuracy, val_loss and val_accuracy; without validation
            clips, which needs patience None, the first two.
        best_epoch: the epoch whose weights are kept, counted from 0.
        seconds: how long all epochs took.
    """

    patience: int | None
    scores: list[Scores] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.scores)

    def add(self, scores: Scores, seconds: float) -> None:
        """Append the scores of one more epoch, and the seconds that it took."""
        self.scores.append(scores)
        self.seconds += seconds
        if self.patience is None or scores["val_loss"] < self.best["val_loss"]:
            self.best_epoch = len(self) - 1

    @property
    def best(self) -> Scores:
        """The scores of the best epoch."""
        return self.scores[self.best_epoch]

    @property
    def improved(self) -> bool:
        """Whether the latest epoch is the best."""
        return self.best_epoch == len(self) - 1

    @property
    def stopped(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and len(self) - 1 - self.best_epoch >= self.patience

    def table(self) -> pd.DataFrame:
        """One row per epoch, as history.csv holds them; epochs are counted from 1."""
        table = pd.DataFrame(self.scores)
        table.insert(0, "epoch", range(1, len(table) + 1))
        return table
