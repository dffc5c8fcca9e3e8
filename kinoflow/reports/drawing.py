"""What all figures share: an empty figure, labels that can be drawn, themes and image files."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kinoflow.video.spec import Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# the colour of text and lines on a page of each theme
_INK = {"light": "#1b1f24", "dark": "#d7dde3"}


@dataclass(frozen=True)
class Themed:
    """A figure as PNG files: dark ink for a light page, and light ink for a dark one."""

    light: bytes
    dark: bytes


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches; drawing it needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def one_line(text: str, length: int) -> str:
    """A label on one line, cut to `length` characters, with dollars that start no formula."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return (text if len(text) <= length else text[: length - 1] + "…").replace("$", r"\$")


def themed(draw: Callable[[], "Figure"]) -> Themed:
    """Draw a figure twice, for light and for dark pages. The same figure gives the same bytes.

    Args:
        draw: makes the figure. Text, axes and ticks get the theme's colour automatically; `draw`
            calls `ink` to colour other parts.
    """
    from matplotlib import rc_context

    files = {}
    for theme, colour in _INK.items():
        with rc_context(
            {
                "text.color": colour,
                "axes.edgecolor": colour,
                "axes.labelcolor": colour,
                "axes.titlecolor": colour,
                "xtick.color": colour,
                "ytick.color": colour,
            }
        ):
            files[theme] = _png(draw())
    return Themed(**files)


def ink() -> str:
    """The colour of text in the theme that is being drawn."""
    from matplotlib import rcParams

    return str(rcParams["text.color"])


def _png(figure: "Figure") -> bytes:
    """A figure as a PNG file with a transparent background; equal figures give equal bytes."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # the font lacks some scripts; it draws boxes for them, and the page's tables show the text
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(content, format="png", transparent=True, metadata={"Software": None})
    return content.getvalue()


def strip(frames: list[Frames], height: int) -> bytes:
    """Frames, uint8 RGB (H, W, 3), side by side, each `height` pixels high, as a JPEG file."""
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
