"""The page of benchmarks/style.py: what was measured of repainted films, as Markdown."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.style_cyclegan import Measured

WAYS = {
    "original": "the film itself",
    "frames": "frame by frame (Gatys)",
    "temporal": "with the temporal loss (Ruder)",
    "fast": "fast network (Johnson)",
}


@dataclass(frozen=True)
class Row:
    """What one way of repainting made of one film."""

    film: str
    exact: bool  # whether the motion of its pixels is known exactly
    way: str
    warping: float  # error, see kinoflow.style.measures
    style: float  # distance
    content: float  # distance
    kernel: float  # distance, of pieces of its frames to pieces of the style
    seconds: float  # by the clock, for each frame
    processor: float  # seconds, for each frame


def mean(rows: Sequence[Row], way: str, what: str, exact: bool | None = None) -> float:
    """A figure's mean over the films of one way; of the rendered or the real ones alone if said."""
    values = [
        getattr(each, what)
        for each in rows
        if each.way == way and (exact is None or each.exact == exact)
    ]
    return float(np.mean(values)) if values else float("nan")


def page(
    rows: Sequence[Row],
    knob: Mapping[float, tuple[float, float]],
    settings: Mapping[str, Any],
    cyclegan: Measured | None,
) -> str:
    """The whole page.

    Args:
        rows: of each film and way.
        knob: the distances to style and content of one frame, by strength.
        settings: what was measured: style, size, frames, a note on it, and of a fast network the
            recipe and the seconds of its training.
        cyclegan: what `make style` measured; None: nothing.
    """
    reached = goals(rows) + (cyclegan.goals() if cyclegan else [])
    parts = [_introduction(settings), "## Figures to reach\n", "\n".join([*reached, ""])]
    for exact, heading in ((True, "Rendered films"), (False, "Real clips")):
        if chosen := [each for each in rows if each.exact == exact]:
            parts += [f"## {heading}\n", table(chosen), _each(chosen)]
    if cyclegan:
        parts.append(cyclegan.section())
    methods = comparison(rows, knob, settings) + ([cyclegan.line()] if cyclegan else [])
    parts += ["## The methods side by side\n", "\n".join([*methods, ""])]
    return "\n".join(parts)


def _introduction(settings: Mapping[str, Any]) -> str:
    return f"""# Style transfer, measured

`python -m benchmarks.style` writes this page. Films of {settings["frames"]} frames of
{settings["size"]}, repainted in the style `{settings["style"]}` of `benchmarks/styles.py`, with
SqueezeNet's features and the default options. [docs/style.md](../docs/style.md) explains the
methods and has pictures.

- **warping error**: how a film differs from itself, moved along with what it shows, on pixels that
  can be followed (Lai et al. 2018); mean squares times 1,000. Motion is the renderer's own for
  rendered films, and estimated from the original for real ones. The film itself has some as well:
  grain, light, and what warping blurs.
- **style** and **content**: distances of Gram matrices and features, relative to what they are
  measured against: 0 is the same.
- **KID**: kernel distance of pieces of the frames to pieces of the style, on our own features
  (SqueezeNet's); it compares with nothing published.
- **frames/s** by the clock, and seconds of processors for a frame, without start-up and compiling.

{machine.name()}
{_paragraph(settings.get("note", ""))}"""


def _paragraph(text: str) -> str:
    return f"\n{textwrap.fill(text, 100)}\n" if text else ""


def table(rows: Sequence[Row]) -> str:
    """The means over films, a line for each way."""
    lines = [
        "| | warping error | of frame by frame | style | content | KID | frames/s | processor s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    base = mean(rows, "frames", "warping")
    for way, name in WAYS.items():
        if not any(each.way == way for each in rows):
            continue
        warping = mean(rows, way, "warping")
        speed = "" if way == "original" else f"{1 / mean(rows, way, 'seconds'):.2f}"
        processor = "" if way == "original" else f"{mean(rows, way, 'processor'):.3f}"
        lines.append(
            f"| {name} | {1000 * warping:.2f} | {warping / base:.2f} "
            f"| {mean(rows, way, 'style'):.3f} | {mean(rows, way, 'content'):.3f} "
            f"| {mean(rows, way, 'kernel'):.3f} | {speed} | {processor} |"
        )
    return "\n".join([*lines, ""])


def _each(rows: Sequence[Row]) -> str:
    """The warping error of each film."""
    ways = [way for way in WAYS if any(each.way == way for each in rows)]
    lines = [
        f"| warping error | {' | '.join(WAYS[way] for way in ways)} |",
        "|---" + "|---:" * len(ways) + "|",
    ]
    for film in dict.fromkeys(each.film for each in rows):
        of_film = [each for each in rows if each.film == film]
        cells = [f"{1000 * mean(of_film, way, 'warping'):.2f}" for way in ways]
        lines.append(f"| {film} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def goals(rows: Sequence[Row]) -> list[str]:
    """Whether each figure that was to be reached was: lines of a table."""
    lines = ["| to reach | measured | |", "|---|---|---|"]

    def line(what: str, measured: str, reached: bool) -> None:
        lines.append(f"| {what} | {measured} | {'reached' if reached else '**missed**'} |")

    for exact, name in ((True, "rendered films"), (False, "real clips")):
        shares = [
            mean([each for each in rows if each.film == film], "temporal", "warping")
            / mean([each for each in rows if each.film == film], "frames", "warping")
            for film in dict.fromkeys(each.film for each in rows if each.exact == exact)
        ]
        if shares:
            line(
                f"the temporal loss at least halves the warping error on {name}",
                f"{', '.join(f'{share:.2f}' for share in shares)} of frame by frame",
                max(shares) <= 0.5,
            )
    if any(each.way == "fast" for each in rows):
        faster = mean(rows, "temporal", "seconds") / mean(rows, "fast", "seconds")
        less = mean(rows, "temporal", "processor") / mean(rows, "fast", "processor")
        apart = mean(rows, "fast", "style") / mean(rows, "frames", "style") - 1
        # nothing but the style picture would have its style
        content = (f"{mean(rows, way, 'content'):.3f}" for way in ("fast", "frames", "temporal"))
        line(
            "the fast network has at least 100 times the frames a second of the optimiser",
            f"{faster:.0f} times by the clock, {less:.0f} times in processor seconds",
            min(faster, less) >= 100,
        )
        line(
            "at the same style distance within 20%",
            f"{100 * apart:+.0f}% of frame by frame; distance to the content "
            "{}, of frame by frame {}, with the temporal loss {}".format(*content),
            apart <= 0.2,
        )
    return lines


def comparison(
    rows: Sequence[Row], knob: Mapping[float, tuple[float, float]], settings: Mapping[str, Any]
) -> list[str]:
    """What each method takes and gives: lines of a table."""
    distances = ", ".join(
        f"{strength:g}: {style:.3f} and {content:.3f}"
        for strength, (style, content) in knob.items()
    )

    def speed(way: str) -> str:
        return f"{1 / mean(rows, way, 'seconds'):.2f} frames/s"

    def abroad(way: str) -> str:
        here, there = (mean(rows, way, "style", exact) for exact in (True, False))
        if np.isnan(there):
            return ""
        return f"; style {here:.3f} on rendered films, {there:.3f} on real"

    optimiser = "one picture of the style | none | {} | any style and any film{} | {}"
    lines = [
        "| method | input | training | speed | generalisation | control |",
        "|---|---|---|---|---|---|",
        f"| {WAYS['frames']} | "
        + optimiser.format(
            speed("frames"),
            abroad("frames"),
            f"strength, at each frame (style and content at {distances}); colours kept; blends",
        )
        + " |",
        f"| {WAYS['temporal']} | "
        + optimiser.format(speed("temporal"), abroad("temporal"), "the same, and consistency")
        + " |",
    ]
    if any(each.way == "fast" for each in rows):
        trained = settings.get("trained") or 0.0
        training = f"{trained / 60:.0f} minutes" if trained else "not timed"
        if recipe := settings.get("recipe"):
            training += (
                f": {recipe['steps']} steps at {recipe['size']} pixels, strength "
                f"{recipe['strength']:g}, {recipe['filters']} filters, {recipe['blocks']} blocks, "
                f"a pattern of {recipe['pattern']}"
            )
        lines.append(
            f"| {WAYS['fast']} | one picture of the style, and footage | {training} "
            f"| {speed('fast')} | one style, any film{abroad('fast')} | none after training |"
        )
    return lines
