"""The work of `kinoflow style`: read, paint and write, say how far it is, and keep what is done."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinoflow.render import film
from kinoflow.style import pictures
from kinoflow.style.canvas import Losses
from kinoflow.style.features import Features
from kinoflow.style.optimise import Options, Painter, Step, Style
from kinoflow.style.unfinished import Unfinished
from kinoflow.style.video import Continuity
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import printable
from kinoflow.video.clock import claimed_seconds
from kinoflow.video.frames import UnreadableVideo, open_video
from kinoflow.video.spec import Frames

_EVERY = 5.0  # seconds between two lines, and between two states of a picture that are kept


@dataclass(frozen=True)
class Wish:
    """How something is to be painted: what `Style` and `Painter` take."""

    features: Features
    painted: list[pictures.Picture]
    blend: list[float]
    brush: float
    options: Options

    def painter(self, first: pictures.Picture) -> Painter:
        """Who paints it, given the picture, or the first frame, at the size to be painted."""
        longest = max(pictures.LEAST, round(max(first.shape[:2]) * self.brush))
        like = first if self.options.keep_colours else None
        style = Style(self.features, self.painted, self.blend, longest, like)
        return Painter(style, self.options)


# === By a network ===


def paint_all(
    clip: Path, output: Path, size: int, paint: Callable[[Any], Any], *, moving: bool
) -> None:
    """Paint a picture or a video with a network, (B, H, W, 3) to (B, H, W, 3)."""

    def painted(picture: pictures.Picture) -> pictures.Picture:
        return np.asarray(paint(picture[None]), dtype=np.float32)[0]

    if not moving:
        pictures.write(output, painted(_sized(pictures.read(clip), size)))
        return
    began = time.monotonic()
    with _progress(printable(clip.name)) as say:
        total = _frames(clip)

        def draw(number: int, frame: Frames) -> Frames:
            shown = pictures.to_bytes(painted(pictures.to_floats(frame)))
            say(
                number + 1,
                total,
                f"{(number + 1) / (time.monotonic() - began):.1f} frames a second",
            )
            return shown

        _redraw(clip, output, size, draw)


# === By optimisation ===


def optimise_all(
    clip: Path, output: Path, size: int, wish: Wish, kept: Unfinished, *, moving: bool
) -> None:
    """Paint a picture or a video by optimisation, from where an earlier run was interrupted.

    Args:
        clip: the picture or video.
        output: the file to write.
        size: of the longer side of what is painted, in pixels, at most.
        wish: how it is to be painted.
        kept: what was painted earlier.
        moving: whether it is a video.
    """
    if moving:
        _video(clip, output, size, wish, kept)
    else:
        _picture(clip, output, size, wish, kept)
    kept.finish()


def _picture(clip: Path, output: Path, size: int, wish: Wish, kept: Unfinished) -> None:
    content = _sized(pictures.read(clip), size)
    painter = wish.painter(content)
    levels = len(painter.scales(*content.shape[:2]))
    nothing = Losses(0.0, 0.0, 0.0, 0.0)
    found, last = kept.picture(), time.monotonic()
    unfinished = None
    if found is not None:
        level, step, picture = found
        unfinished = Step(level, levels, step, wish.options.steps, nothing, picture)
        print(f"goes on at level {level + 1}, step {step}", file=sys.stderr)
    with _progress(printable(clip.name)) as say:

        def watch(now: Step) -> None:
            nonlocal last
            done = now.level * now.steps + now.step
            text = f"level {now.level + 1} of {levels}, {_text(now.losses)}"
            say(done, levels * now.steps, text)
            if time.monotonic() - last >= _EVERY:
                kept.keep_picture(now.level, now.step, now.picture)
                last = time.monotonic()

        pictures.write(output, painter.paint(content, watch=watch, unfinished=unfinished))


def _video(clip: Path, output: Path, size: int, wish: Wish, kept: Unfinished) -> None:
    continuity: Continuity | None = None
    total, frames, losses = _frames(clip), 0, Losses(0.0, 0.0, 0.0, 0.0)
    with _progress(printable(clip.name)) as say:
        began, painted_now = time.monotonic(), 0

        def watch(now: Step) -> None:
            nonlocal losses
            losses = now.losses
            say(frames, total, f"step {now.step} of {now.steps}, {_text(losses)}")

        def draw(number: int, frame: Frames) -> Frames:
            nonlocal continuity, frames, painted_now
            if continuity is None:
                continuity = Continuity(wish.painter(pictures.to_floats(frame)))
            painted = kept.frame(number, frame.shape)
            if painted is None:
                painted = continuity.paint(frame, watch)
                kept.keep_frame(number, painted)
                painted_now += 1
            else:
                continuity.remember(frame, painted)
            frames = number + 1
            speed = (time.monotonic() - began) / max(1, painted_now)
            say(frames, total, f"{_text(losses)}; {speed:.1f} s a frame")
            return painted

        _redraw(clip, output, size, draw)
    scenes = "" if continuity is None or not continuity.cuts else f", {continuity.cuts} cuts"
    print(f"{frames} frames{scenes}", file=sys.stderr)


def _text(losses: Losses) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in losses._asdict().items() if value)


# === Reading and writing ===


def _sized(picture: Any, size: int) -> Any:
    return pictures.resized(picture, *pictures.size_within(picture.shape, size))


def _redraw(clip: Path, output: Path, size: int, draw: Callable[[int, Frames], Frames]) -> None:
    """Write a video again, each frame painted at a size; `draw` takes its number and the frame."""
    number, shape = 0, (0, 0)

    def next_frame(_: float, frame: Frames) -> Frames:
        nonlocal number, shape
        if number == 0:
            shape = pictures.size_within(frame.shape, size)
        # the size of a stream may change; a painter's does not
        painted = draw(number, pictures.resized(frame, *shape))
        number += 1
        return painted

    try:
        problem = film.redraw(clip, output, next_frame)
    except UnreadableVideo as reason:
        raise UserError(f"{printable(str(clip))}: {reason}") from None
    if problem:
        print(f"warning: {printable(str(clip))}: {problem}", file=sys.stderr)
    if number == 1:
        print(f"note: {printable(str(clip))} has one frame: nothing moves in it", file=sys.stderr)


def _frames(clip: Path) -> int | None:
    """About how many frames a video has, by its header."""
    with open_video(clip) as video:
        seconds = claimed_seconds(video)
        if video.frames or seconds is None:
            return video.frames or None
        return round(seconds * float(video.average_rate or 25))


Say = Callable[[int, int | None, str], None]


@contextlib.contextmanager
def _progress(what: str) -> Iterator[Say]:
    """A function that shows how much is done, and a text: a bar, or a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console, last = Console(stderr=True), time.monotonic()

    def line(done: int, total: int | None, text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY or (done == total and total is not None):
            last = time.monotonic()
            of = "" if total is None else f"/{total}"
            print(f"{what}: {done}{of}, {text}", file=sys.stderr, flush=True)

    if not console.is_terminal:
        yield line
        return
    columns = (BarColumn(), MofNCompleteColumn(), Remaining(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, text: bar.update(
            task, completed=done, total=max(done, total or 0) or None, description=text
        )
