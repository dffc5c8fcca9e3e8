"""Every picture that kinoflow draws, as figures to be saved."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.video import Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion(matrix: NDArray[np.int64], labels: tuple[str, ...]) -> "Figure":
    """How often each class (rows) was taken for each other (columns), as counts and shares.

    `matrix` holds counts (classes, classes).
    """
    size = max(4.0, 0.55 * len(labels) + 2.5)
    figure = _figure(size + 0.8, size)
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= 20:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the actual class")
    return figure


def curves(history: pd.DataFrame) -> "Figure":
    """Loss and accuracy by epoch, in training and validation; the kept epoch is marked."""
    figure = _figure(9, 3.4)
    kept = int(history["epoch"].iloc[int(history["val_loss"].to_numpy().argmin())])
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(history["epoch"], history[name], label="training")
        axes.plot(history["epoch"], history[f"val_{name}"], label="validation")
        axes.axvline(kept, color="grey", linestyle=":", label=f"kept: epoch {kept}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def contact_sheet(clips: dict[str, Frames]) -> "Figure":
    """One row per clip, its frames in order of time; all clips uint8 (T, H, W, 3) of one shape."""
    frames, height, width, _ = next(iter(clips.values())).shape
    figure = _figure(1.3 * frames + 0.9, 1.3 * height / width * len(clips))
    grid = figure.subplots(len(clips), 1, squeeze=False)[:, 0]
    for axes, (name, clip) in zip(grid, clips.items(), strict=True):
        axes.imshow(np.concatenate(list(clip), axis=1), aspect="auto")
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def _figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches; drawn without any display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")
