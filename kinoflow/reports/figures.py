"""Every picture that kinoflow draws, as figures to be saved."""

import io
import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.video.spec import Frames

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# with more classes than this, pictures change to a form that stays readable
_MULTIPLES = 24
_RGB = ("#c62828", "#2e7d32", "#1565c0")


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
    names = [_plain(label, 32) for label in labels]
    axes.set_xticks(range(len(labels)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), names)
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
        lines = "\n".join(_plain(line, 32) for line in name.split("\n"))
        axes.set_ylabel(lines, rotation=0, ha="right", va="center")
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def durations(seconds: NDArray[np.float64]) -> "Figure":
    """How long the videos are, as a histogram; on a logarithmic axis where they differ much."""
    figure = _figure(8, 2.8)
    axes = figure.subplots()
    low, high = float(seconds.min()), float(seconds.max())
    bins = min(40, math.ceil(math.sqrt(len(seconds))))
    if high > 20 * np.median(seconds):
        axes.hist(seconds, bins=np.geomspace(low, high * 1.001, bins + 1).tolist())
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        axes.hist(seconds, bins=bins)
    axes.set_xlabel("seconds")
    axes.set_ylabel("videos")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", alpha=0.3)
    return figure


def balance(labels: list[str], videos: list[int], groups: list[int]) -> "Figure":
    """How many videos (bars) and groups (dots) each class has, the largest first."""
    order = sorted(range(len(labels)), key=lambda index: (-videos[index], labels[index]))
    figure, axes, rows = _rows([labels[index] for index in order])
    axes.barh(rows, [videos[index] for index in order], height=0.7, label="videos")
    dots = [groups[index] for index in order]
    axes.plot(dots, rows, "o", color="black", markersize=4, label="groups (recordings)")
    axes.set_xlabel("videos and groups")
    _legend_above(figure, axes)
    return figure


def motion(table: pd.DataFrame) -> "Figure":
    """Optical-flow magnitude per class, from high to low.

    `table` has `label` and, in percent of the frame's width per second, `motion`, `motion_low`,
    `motion_high` (the middle half of the videos) and `flow` (with the camera's share).
    """
    table = table.dropna(subset="motion")
    figure, axes, rows = _rows(table["label"].tolist())
    median = table["motion"].to_numpy()
    spread = [median - table["motion_low"], table["motion_high"] - median]
    axes.barh(rows, median, height=0.7, label="without the camera's motion (median)")
    axes.errorbar(median, rows, xerr=spread, fmt="none", ecolor="black", elinewidth=1)
    axes.plot(table["flow"], rows, "D", markersize=4, mfc="white", mec="black", label="with it")
    axes.set_xlabel("% of the frame's width per second")
    _legend_above(figure, axes)
    return figure


def colours(labels: list[str], histograms: NDArray[np.float64]) -> "Figure":
    """RGB histograms per class, (classes, 3, bins): curves for a few classes, else maps by row."""
    if len(labels) > _MULTIPLES:
        return _colour_maps(labels, histograms)
    columns = min(4, len(labels))
    lines = -(-len(labels) // columns)
    figure = _figure(8, 1.5 * lines + 0.7)
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    values = (np.arange(histograms.shape[2]) + 0.5) * 256 / histograms.shape[2]
    for axes in grid.flat[len(labels) :]:
        axes.set_visible(False)
    for axes, label, channels in zip(grid.flat, labels, histograms, strict=False):
        for colour, name, shares in zip(_RGB, ("red", "green", "blue"), channels, strict=True):
            axes.plot(values, shares * 100, color=colour, label=name, linewidth=1.2)
        axes.set_title(_plain(label, 24), fontsize=9)
        axes.set_xlim(0, 256)
        axes.set_xticks([0, 128, 255])
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    grid.flat[0].set_ylim(0, histograms.max() * 105)
    figure.supxlabel("value of the channel", fontsize=9)
    figure.supylabel("% of the pixels", fontsize=9)
    _legend_above(figure, grid.flat[0])
    return figure


def _colour_maps(labels: list[str], histograms: NDArray[np.float64]) -> "Figure":
    brightness = (histograms * np.arange(histograms.shape[2])).sum(axis=(1, 2))
    order = np.argsort(-brightness, kind="stable")
    figure, first, _ = _rows([labels[index] for index in order], panels=3)
    top = np.quantile(histograms, 0.98)  # a black border would leave all else pale
    for number, name in enumerate(("red", "green", "blue")):
        axes = figure.axes[number]
        axes.imshow(
            histograms[order, number],
            cmap=f"{name.capitalize()}s",
            vmin=0,
            vmax=top,
            aspect="auto",
            extent=(0, 256, len(labels) - 0.5, -0.5),
        )
        axes.set_title(name, fontsize=9)
        axes.set_xticks([0, 128, 255])
        axes.set_xlabel("value of the channel")
        axes.grid(visible=False)
    first.set_ylim(len(labels) - 0.5, -0.5)
    return figure


def strip(frames: list[Frames], height: int) -> bytes:
    """Frames (H, W, 3) side by side, each `height` pixels high, as a JPEG file."""
    import cv2

    scaled = [
        cv2.resize(
            frame,
            (max(1, round(frame.shape[1] * height / frame.shape[0])), height),
            interpolation=cv2.INTER_AREA,
        )
        for frame in frames
    ]
    picture = cv2.cvtColor(np.concatenate(scaled, axis=1), cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return content.tobytes()


def png(figure: "Figure") -> bytes:
    """The figure as a PNG file; the same bytes whenever it is drawn."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # a label in a script that the font lacks: boxes in the picture, the text in the tables
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def _rows(labels: list[str], panels: int = 1) -> tuple["Figure", "Axes", NDArray[np.int64]]:
    """A figure with a row per label, as tall as they need, its first axes and the rows' places."""
    figure = _figure(8, (0.28 if len(labels) <= _MULTIPLES else 0.19) * len(labels) + 1.1)
    grid = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    rows = np.arange(len(labels))
    size = 9 if len(labels) <= _MULTIPLES else 7.5
    grid[0].set_yticks(rows, [_plain(label, 32) for label in labels], fontsize=size)
    for axes in grid:
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        axes.grid(axis="x", alpha=0.3)
        if len(labels) > _MULTIPLES:
            axes.tick_params(axis="x", top=True, labeltop=True)
    return figure, grid[0], rows


def _legend_above(figure: "Figure", axes: "Axes") -> None:
    from matplotlib.container import Container

    handles, names = axes.get_legend_handles_labels()
    # matplotlib would name the bars last
    order = sorted(range(len(names)), key=lambda index: not isinstance(handles[index], Container))
    figure.legend(
        [handles[index] for index in order],
        [names[index] for index in order],
        loc="outside upper left",
        ncols=len(names),
        frameon=False,
        fontsize=9,
    )


def _plain(text: str, length: int) -> str:
    """A label on one line, cut to `length`, its dollars no formula."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return (text if len(text) <= length else text[: length - 1] + "…").replace("$", r"\$")


def _figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches; drawn without any display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")
