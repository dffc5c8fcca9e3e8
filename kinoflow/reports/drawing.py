"""What all figures share: an empty figure, labels that can be drawn, themes and files."""

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from kinoflow.video.spec import Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Drawn for the colour of text and lines. No figure has this colour for anything else.
_INK = "#010203"
_INKED = (
    "text.color",
    "axes.edgecolor",
    "axes.labelcolor",
    "axes.titlecolor",
    "xtick.color",
    "ytick.color",
)
# what it becomes on a light and on a dark page
_THEMES = ":root{--ink:#1b1f24}@media(prefers-color-scheme:dark){:root{--ink:#d7dde3}}"


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches; drawing it needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def one_line(text: str, length: int) -> str:
    """A label on one line, cut to `length` characters, with dollars that start no formula."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return (text if len(text) <= length else text[: length - 1] + "…").replace("$", r"\$")


def vector(draw: Callable[[], "Figure"]) -> bytes:
    """Draw a figure as an SVG file for light and dark pages. The same figure gives the same bytes.

    Text is drawn as outlines, so that it takes the room that the figure has for it whatever fonts
    a reader has.

    Args:
        draw: makes the figure. Text, axes and ticks get the theme's colour automatically; `draw`
            calls `ink` to colour other parts.
    """
    from matplotlib import rc_context

    content = io.StringIO()
    settings: Any = dict.fromkeys(_INKED, _INK) | {"svg.hashsalt": "kinoflow"}
    with rc_context(settings), warnings.catch_warnings():
        # the font lacks some scripts: it draws boxes for them, and the tables show the text
        warnings.filterwarnings("ignore", "Glyph .* missing")
        draw().savefig(content, format="svg", transparent=True, metadata={"Date": None})
    # the comments repeat what is written
    themed = re.sub(r"<!--.*?-->\n?", "", content.getvalue(), flags=re.DOTALL)
    themed = themed.replace(_INK, "var(--ink)")
    return re.sub(r"(<svg[^>]*>)", rf"\1<style>{_THEMES}</style>", themed, count=1).encode()


def ink() -> str:
    """The colour that `vector` turns into the colour of text in the reader's theme."""
    return _INK


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
