"""`kinoflow live`: a camera, a stream or a file, as its frames arrive."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from kinoflow.bundle import Bundle
from kinoflow.commands.shared import count, duration, load_model, seconds, top, window_seconds
from kinoflow.live import Answering, Moment, moments
from kinoflow.render import film, label
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import printable
from kinoflow.video.frames import UnreadableVideo, to_rgb
from kinoflow.video.live import latest, timed

_TITLE = "kinoflow: q or Esc ends it"
_ENDS = (27, ord("q"))


def live(arguments: argparse.Namespace) -> None:
    """Print the labels of a camera, stream or file while its frames arrive; show or write them.

    Frames are taken at the steps of time that training took them at. A causal model (movinet) reads
    frame by frame and predicts from all frames that it remembers. Any other model predicts from the
    latest window.
    """
    given = [one for one in (arguments.source, arguments.named) if one is not None]
    if len(given) != 1:
        raise UserError("name one source: a camera's number, a stream's URL or a file")
    source = int(given[0]) if given[0].isdecimal() else given[0]
    output: Path | None = arguments.output
    if output is not None and output.suffix.lower() != ".mp4":
        raise UserError(f"{output} must end in .mp4: the video is H.264 in MP4")
    if isinstance(source, str) and ":" not in source and not Path(source).exists():
        raise UserError(f"{source}: there is no such file")
    if arguments.show and not can_show():
        raise UserError(
            "this OpenCV cannot open windows: install opencv-python in place of "
            "opencv-python-headless, or write a video with -o"
        )
    model = load_model(arguments.model)
    window, origin = window_seconds(model, arguments.window)
    print(f"windows of {window:g} s ({origin})", file=sys.stderr)
    hold = window / 2 if arguments.hold is None else arguments.hold
    answering = Answering(model, window, every=arguments.every, memory=arguments.memory)
    frames = timed(source)
    if isinstance(source, int) or not Path(source).is_file():
        frames = latest(frames)
    shown = moments(answering, frames, hold)
    writing = contextlib.nullcontext() if output is None else film.writing(output)
    try:
        with writing as out, _until_interrupted():
            _follow(model, shown, out, show=arguments.show, count=arguments.top)
    except UnreadableVideo as problem:
        raise UserError(f"{source}: {problem}") from None
    if output is not None:
        print(f"wrote {output}", file=sys.stderr)


def _follow(
    model: Bundle, shown: Iterator[Moment], out: film.Film | None, *, show: bool, count: int
) -> None:
    """Print each answer, and draw each frame with its label where somebody sees it."""
    converter = VideoReformatter()
    for moment in shown:
        for answer in moment.answers:
            found = top(model, answer.probabilities, count, first=moment.label)
            print(f"{answer.time:.1f} s: {printable(found)}", flush=True)
        if out is None and not show:
            continue
        picture = to_rgb(moment.frame, converter)
        if moment.label is not None:
            label.draw(picture, model.labels[moment.label], moment.probability)
        if out is not None:
            out.add(moment.time, picture)
        if show:
            cv2.imshow(_TITLE, np.ascontiguousarray(picture[..., ::-1]))
            if cv2.waitKey(1) in _ENDS:
                return


@contextlib.contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ctrl-C ends the block and not the command, so that a video is written to its end."""
    with contextlib.suppress(KeyboardInterrupt):
        yield


def can_show() -> bool:
    """Whether this OpenCV was built with windows; the headless one was not."""
    lines = cv2.getBuildInformation().splitlines()
    return not any(line.split() == ["GUI:", "NONE"] for line in lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `live` but those that it shares with `predict`."""
    what = "a camera's number, a stream's URL or a file"
    parser.add_argument("source", nargs="?", help=what)
    parser.add_argument("--source", dest="named", metavar="SOURCE", help=what)
    parser.add_argument("-o", "--output", type=Path, help="write a video with the labels, .mp4")
    parser.add_argument("--show", action="store_true", help="show the labels in a window")
    parser.add_argument(
        "--window",
        type=seconds,
        help="seconds of a window; the median length of the catalog's videos if not given",
    )
    parser.add_argument(
        "--every",
        type=count,
        help="how many of a window's frames lie between two answers; a quarter if not given",
    )
    parser.add_argument(
        "--hold",
        type=duration,
        help="seconds that a label is shown at least; half a window if not given",
    )
    parser.add_argument(
        "--memory",
        type=count,
        default=256,
        help="frames that a causal model remembers, at least",
    )
