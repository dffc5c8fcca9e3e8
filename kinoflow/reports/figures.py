"""The figures of an evaluation."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.reports.drawing import new_figure, one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion(matrix: NDArray[np.int64], labels: tuple[str, ...]) -> "Figure":
    """How often clips of each actual class (rows) were predicted as each class (columns).

    Args:
        matrix: (classes, classes) numbers of clips; colours show their share of the row.
        labels: the names of the classes by index.
    """
    size = max(4.0, 0.55 * len(labels) + 2.5)
    figure = new_figure(size + 0.8, size)
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= 20:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour)
    names = [one_line(label, 32) for label in labels]
    axes.set_xticks(range(len(labels)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the actual class")
    return figure


def curves(history: pd.DataFrame, kept: int) -> "Figure":
    """Loss and accuracy of each epoch in training and validation.

    Args:
        history: the table `tables.HISTORY`.
        kept: the epoch whose weights were kept, counted from 1; a line marks it.
    """
    figure = new_figure(9, 3.4)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(history["epoch"], history[name], label="training")
        axes.plot(history["epoch"], history[f"val_{name}"], label="validation")
        axes.axvline(kept, color="grey", linestyle=":", label=f"kept: epoch {kept}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure
