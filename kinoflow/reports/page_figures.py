"""The figures of the page of a run, `reports/index.html`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.reports.data_figures import BLUE, MANY, OCHRE
from kinoflow.reports.drawing import ink, new_figure, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# how clips are shown, with a colour and a marker that tell the orders apart without the colour
_ORDERS = {
    "as_is": ("as it is", BLUE, "o"),
    "shuffled": ("shuffled", OCHRE, "D"),
    "reversed": ("reversed", "#c2547a", "<"),
    "frozen": ("frozen", "#7a8592", "s"),
}


def learning_curves(history: pd.DataFrame, kept: int) -> "Figure":
    """Loss and accuracy of each epoch in training and validation.

    Args:
        history: the table `tables.HISTORY`.
        kept: the epoch whose weights were kept, counted from 1; a line marks it.
    """
    figure = new_figure(8, 3.1)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(history["epoch"], history[name], color=BLUE, label="training")
        axes.plot(history["epoch"], history[f"val_{name}"], "--", color=OCHRE, label="validation")
        axes.axvline(kept, color=ink(), linestyle=":", linewidth=1, label=f"kept: epoch {kept}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        _plain(axes)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside upper left", ncols=len(names), frameon=False, fontsize=9
    )
    return figure


def confusion(matrix: NDArray[np.int64], labels: Sequence[str]) -> "Figure":
    """How often clips of each actual class (rows) were predicted as each class (columns).

    Args:
        matrix: (classes, classes) numbers of clips; colours show their share of the row.
        labels: the names of the classes by index.
    """
    many = len(labels) > MANY
    size = (0.16 if many else 0.5) * len(labels) + 2.2
    figure = new_figure(min(size + 0.7, 18), min(size, 17))
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(np.where(matrix > 0, shares, np.nan), cmap="cividis", vmin=0, vmax=1)
    if not many:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = "black" if shares[row, column] > 0.5 else "white"
                axes.text(
                    column, row, str(count), ha="center", va="center", color=colour, fontsize=9
                )
    names = [one_line(label, 28) for label in labels]
    font = 6.5 if many else 9
    axes.set_xticks(
        range(len(labels)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=font
    )
    axes.set_yticks(range(len(labels)), names, fontsize=font)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the actual class")
    return figure


def reliability(table: pd.DataFrame) -> "Figure":
    """How often answers of each confidence are right, before and after temperature scaling.

    Args:
        table: the table `tables.RELIABILITY`.
    """
    figure = new_figure(8, 3.7)
    panels = zip(
        figure.subplots(1, 2, sharey=True),
        ((False, "before: as the model says"), (True, "after: as it answers")),
        strict=True,
    )
    for axes, (calibrated, title) in panels:
        bins = table[(table["calibrated"] == calibrated) & (table["clips"] > 0)]
        axes.plot([0, 1], [0, 1], color=ink(), linestyle=":", linewidth=1)
        axes.bar(
            bins["low"],
            bins["accuracy"],
            width=bins["high"] - bins["low"],
            align="edge",
            color=BLUE,
            alpha=0.55,
            edgecolor=BLUE,
        )
        sizes = 12 + 160 * bins["clips"] / max(bins["clips"].sum(), 1)
        axes.scatter(
            bins["confidence"],
            bins["accuracy"],
            s=sizes,
            color=OCHRE,
            edgecolors=ink(),
            linewidths=0.7,
            zorder=3,
        )
        axes.set_title(title, fontsize=10)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("confidence")
        _plain(axes)
    figure.axes[0].set_ylabel("share that is right")
    return figure


def frame_orders(table: pd.DataFrame) -> "Figure":
    """The accuracy of each class with its frames as they are, shuffled, reversed and frozen.

    Args:
        table: the table `tables.TIME`; classes are drawn in its order.
    """
    many = len(table) > MANY
    figure = new_figure(8, (0.19 if many else 0.32) * len(table) + 1.2)
    axes = figure.subplots()
    rows = np.arange(len(table))
    values = table[list(_ORDERS)]
    axes.hlines(rows, values.min(axis=1), values.max(axis=1), color=ink(), alpha=0.3, linewidth=1)
    # the four markers of a class stand a little apart, since accuracies are often equal
    for shift, (name, (label, colour, marker)) in zip(
        np.linspace(-0.24, 0.24, len(_ORDERS)), _ORDERS.items(), strict=True
    ):
        axes.plot(
            table[name],
            rows + shift,
            marker,
            color=colour,
            markeredgecolor=ink(),
            markeredgewidth=0.5,
            markersize=4 if many else 6.5,
            label=label,
        )
    axes.set_yticks(rows, [one_line(label, 32) for label in table["label"]])
    axes.tick_params(axis="y", length=0, labelsize=7.5 if many else 9)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("share of the class's test clips that is right")
    _plain(axes)
    figure.legend(loc="outside upper left", ncols=len(_ORDERS), frameon=False, fontsize=9)
    return figure


def differences(names: Sequence[str], table: pd.DataFrame) -> "Figure":
    """Test accuracy of each model (row) minus that of each other one (column), in points.

    Args:
        names: the models, in the order of the rows and columns.
        table: the table `tables.COMPARISON`; a dot marks differences that are real after Holm's
            correction.
    """
    place = {name: index for index, name in enumerate(names)}
    points = np.full((len(names), len(names)), np.nan)
    real = []
    for row in table.to_dict("records"):
        one, other = place[row["a"]], place[row["b"]]
        points[one, other], points[other, one] = 100 * row["difference"], -100 * row["difference"]
        if row["p_holm"] <= 0.05:
            real += [(one, other), (other, one)]
    size = 0.46 * len(names) + 2.4
    figure = new_figure(min(size + 0.8, 11), min(size, 10.5))
    axes = figure.subplots()
    bound = max(1.0, float(np.nanmax(np.abs(points))) if len(table) else 1.0)
    image = axes.imshow(points, cmap="PuOr", vmin=-bound, vmax=bound)
    for (row, column), value in np.ndenumerate(points):
        if not np.isnan(value):
            dark = abs(value) > 0.6 * bound
            mark = "•" if (row, column) in real else ""
            axes.text(
                column,
                row,
                f"{value:+.0f}{mark}".replace("-", "−"),
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if dark else "black",
            )
    shown = [one_line(name, 24) for name in names]
    axes.set_xticks(
        range(len(names)), shown, rotation=45, ha="right", rotation_mode="anchor", fontsize=8.5
    )
    axes.set_yticks(range(len(names)), shown, fontsize=8.5)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.7, label="points: row minus column")
    return figure


def fractions(
    curves: Mapping[str, pd.DataFrame], x: str, y: str, labels: tuple[str, str]
) -> "Figure":
    """Curves over a fraction from 0 to 1.

    Args:
        curves: a table for each curve, by what it shows.
        x: the column of the fraction.
        y: the column of the value; `low` and `high`, where there are such columns, bound a band.
        labels: of the two axes.
    """
    figure = new_figure(6.4, 3.4)
    axes = figure.subplots()
    styles = zip((BLUE, OCHRE, "#c2547a", "#7a8592"), ("-", "--", "-.", ":"), strict=True)
    for (name, table), (colour, style) in zip(curves.items(), styles, strict=False):
        axes.plot(table[x], table[y], style, color=colour, marker="o", markersize=3, label=name)
        if {"low", "high"} <= {*table.columns}:
            axes.fill_between(table[x], table["low"], table["high"], color=colour, alpha=0.18)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    _plain(axes)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    return figure


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(alpha=0.3)
