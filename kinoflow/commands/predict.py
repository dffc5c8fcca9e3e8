"""`kinoflow predict`: videos, their timelines, and folders."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from kinoflow.commands.shared import load_model, seconds, top, window_seconds
from kinoflow.data import tables
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.system.sandbox import Bounds
from kinoflow.system.terminal import printable, progress
from kinoflow.timeline import Timeline, timeline
from kinoflow.video.decoder import sample
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import Frames

_BOUNDS = Bounds(seconds=300, memory_mb=2048)  # for one video of a folder, as for a data set
_OUTPUTS = (".csv", ".json", ".svg", ".png")

# one row per moment; further columns: p_<label>, the smoothed probability of each class
_MOMENTS = tables.Schema(
    {"start": "float64", "end": "float64", "label": "str", "probability": "float64"},
    others="float64",
    float_format="%.9g",
)


def predict(arguments: argparse.Namespace) -> None:
    """Print the most probable labels of videos, or write those of a folder or of moments.

    With --timeline: what happens when in a video, as CSV, JSON, a picture, or the video with the
    label burnt in.
    """
    folder = len(arguments.videos) == 1 and arguments.videos[0].is_dir()
    moments = arguments.timeline or arguments.output or arguments.video
    if folder and moments:
        raise UserError("a timeline is of a video, not of a folder")
    if arguments.csv and not folder:
        raise UserError("--csv is for one folder; a timeline is written with -o moments.csv")
    if folder and not arguments.csv:
        raise UserError(f"{arguments.videos[0]} is a folder: name its table, --csv out.csv")
    if not moments and arguments.window is not None:
        raise UserError("--window is for --timeline")
    if folder:
        _folder(arguments)
    elif moments:
        _timelines(arguments)
    else:
        _videos(arguments)


def _videos(arguments: argparse.Namespace) -> None:
    model = load_model(arguments.model)
    with _tried(arguments.videos) as each:
        for video, attempt in each:
            with attempt:
                probabilities = model.predict(sample(video, model.clip)[None])[0]
                print(f"{printable(str(video))}: {top(model, probabilities, arguments.top)}")


@contextlib.contextmanager
def _tried(
    videos: list[Path],
) -> Iterator[Iterator[tuple[Path, contextlib.AbstractContextManager[None]]]]:
    """Videos, each with a context that prints why it cannot be read; UserError at the end."""
    failed = 0

    @contextlib.contextmanager
    def attempt(video: Path) -> Iterator[None]:
        nonlocal failed
        try:
            yield
        except UnreadableVideo as problem:
            failed += 1
            print(f"error: {printable(f'{video}: {problem}')}", file=sys.stderr)

    yield ((video, attempt(video)) for video in videos)
    if failed:
        raise UserError(f"{failed} of {len(videos)} videos could not be read")


# === Timelines ===


def _timelines(arguments: argparse.Namespace) -> None:
    outputs: list[Path] = arguments.output or []
    for path in outputs:
        if path.suffix.lower() not in _OUTPUTS:
            raise UserError(f"{path} must end in one of {', '.join(_OUTPUTS)}")
    film: Path | None = arguments.video
    if film is not None and film.suffix.lower() != ".mp4":
        raise UserError(f"{film} must end in .mp4: the video is H.264 in MP4")
    if len(arguments.videos) > 1 and (outputs or film):
        raise UserError("-o and --video are for one video at a time")
    if film is not None and film.exists() and film.samefile(arguments.videos[0]):
        raise UserError(f"{film} is the video itself: write to another file")
    model = load_model(arguments.model)
    window, source = window_seconds(model, arguments.window)
    print(f"windows of {window:g} s ({source})", file=sys.stderr)
    with _tried(arguments.videos) as each:
        for video, attempt in each:
            with attempt:
                name = printable(str(video))
                with _seconds_done(name) as watch:
                    found = timeline(video, model, window, watch=watch)
                _print(name, found)
                for path in outputs:
                    _write(path, found)
                if film is not None:
                    _burn(video, film, found)
                for path in [*outputs, *([film] if film else [])]:
                    print(f"wrote {path}", file=sys.stderr)


def _print(name: str, found: Timeline) -> None:
    print(f"{name}: {found.seconds:.1f} s")
    for segment in found.segments:
        label = printable(found.labels[segment.label])
        print(f"{segment.start:8.1f} to {segment.end:.1f}  {label} {segment.probability:.3f}")
    if found.problem:
        print(f"warning: {name}: {found.problem}", file=sys.stderr)


def _write(path: Path, found: Timeline) -> None:
    kind = path.suffix.lower()
    if kind == ".csv":
        tables.write(_table(found), path, _MOMENTS)
    elif kind == ".json":
        files.write_json(path, found.document())
    else:
        # here, since it loads matplotlib
        from kinoflow.render import picture

        picture.write(path, found)


def _table(found: Timeline) -> pd.DataFrame:
    columns = {
        "start": found.moments[:, 0].round(3),
        "end": found.moments[:, 1].round(3),
        "label": [found.labels[k] for k in found.shown],
        "probability": found.probabilities[range(len(found.shown)), found.shown],
    }
    each = {f"p_{label}": found.probabilities[:, k] for k, label in enumerate(found.labels)}
    return pd.DataFrame(columns | each)


def _burn(video: Path, path: Path, found: Timeline) -> None:
    """Write the video with its labels. A moment's label needs what follows, so it is read again."""
    from kinoflow.render import film, label

    with _seconds_done(path.name) as watch:

        def draw(time: float, frame: Frames) -> None:
            moment = found.at(time)
            index = int(found.shown[moment])
            label.draw(frame, found.labels[index], float(found.probabilities[moment, index]))
            watch(time, found.seconds)

        problem = film.redraw(video, path, draw)
    if problem:
        print(f"warning: {printable(str(video))}: {problem}", file=sys.stderr)


@contextlib.contextmanager
def _seconds_done(what: str) -> Iterator[Callable[[float, float | None], None]]:
    """A function that shows how many seconds of a video are done: a bar, or a line per tenth."""
    from rich.console import Console
    from rich.progress import Progress

    shown = 0

    def line(done: float, claimed: float | None) -> None:
        nonlocal shown
        tenth = min(10, int(done * 10 / claimed)) if claimed else 0
        # a short video needs no lines
        if tenth > shown and claimed and claimed > 60:
            shown = tenth
            print(f"{what}: {done:.0f} of {claimed:.0f} s", file=sys.stderr, flush=True)

    console = Console(stderr=True)
    if not console.is_terminal:
        yield line
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(what.replace("[", r"\["), total=None)
        yield lambda done, claimed: bar.update(task, completed=done, total=claimed)


# === Folders ===


def _folder(arguments: argparse.Namespace) -> None:
    # here, since timelines and single videos do without
    from kinoflow.folder import Folder

    table: Path = arguments.csv
    if table.suffix.lower() != ".csv":
        raise UserError(f"{table} must end in .csv")
    root: Path = arguments.videos[0]
    answers = Folder(root, table, load_model(arguments.model), _BOUNDS)
    total, videos = len(answers.files()), answers.missing()
    if len(videos) < total:
        print(f"{total - len(videos)} of {total} are answered for already", file=sys.stderr)
    read = list(progress(answers.answer(videos), printable(root.name or str(root)), len(videos)))
    print(f"{table}: {total} videos, {len(videos)} of them new or changed")
    if unread := read.count(False):
        print(f"warning: {unread} could not be read: the column problem says why", file=sys.stderr)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `predict` but those that it shares with `live`."""
    parser.add_argument("videos", nargs="+", type=Path, help="videos, or one folder with --csv")
    parser.add_argument("--csv", type=Path, help="the table of a folder; what is there is kept")
    parser.add_argument("--timeline", action="store_true", help="what happens when")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        action="append",
        help="write the timeline: .csv, .json, .svg or .png; may be repeated",
    )
    parser.add_argument("--video", type=Path, help="write the video with its labels burnt in, .mp4")
    parser.add_argument(
        "--window",
        type=seconds,
        help="seconds of a window; the median length of the catalog's videos if not given",
    )
