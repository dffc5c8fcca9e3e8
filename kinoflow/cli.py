"""The command `kinoflow`: classify and repaint videos, show and export what was measured."""

import argparse
import sys
from pathlib import Path

from kinoflow import bundle
from kinoflow.commands import export, live, predict, style, style_train
from kinoflow.commands.shared import count, load_model, top
from kinoflow.config import METHODS
from kinoflow.reports import leaderboard
from kinoflow.reports.records import Winner
from kinoflow.system.errors import UserError, run
from kinoflow.system.terminal import printable
from kinoflow.video.frames import UnreadableVideo
from kinoflow.workspace import Workspace

# `style` takes a clip and `export` a bundle, so what else they do is a command of its own behind
# the scenes
_STYLE_TRAIN, _EXPORT_FIFTYONE = "style-train", "export-fiftyone"
_BEHIND: dict[tuple[str, ...], str] = {
    ("style", "train"): _STYLE_TRAIN,
    ("export", "fiftyone"): _EXPORT_FIFTYONE,
}


def explain(arguments: argparse.Namespace) -> None:
    """Show where and when in a video the model found evidence for its answer.

    Writes a film, in which the evidence is drawn over the clip, and a strip of pictures beside it.
    """
    # here, since they load the encoder and Keras
    from kinoflow.explain import film
    from kinoflow.explain.footage import footage
    from kinoflow.explain.methods import Explainer

    model = load_model(arguments.model)
    if arguments.output.suffix != ".mp4":
        raise UserError(f"{arguments.output} must end in .mp4: the film is H.264 in MP4")
    if arguments.label is not None and arguments.label not in model.labels:
        raise UserError(
            f"the model has no class {arguments.label!r}; there are {', '.join(model.labels)}"
        )
    label = None if arguments.label is None else model.labels.index(arguments.label)
    method = None if arguments.method == "auto" else arguments.method
    try:
        seen = footage(arguments.video, model.clip)
    except UnreadableVideo as problem:
        raise UserError(f"{printable(str(arguments.video))}: {problem}") from None
    explanation = Explainer(model, method).explain(seen.clip, label)
    fps = film.rate(len(seen.frames), seen.seconds)
    film.write_film(arguments.output, film.film(seen.frames, explanation), fps)
    strip = arguments.output.with_suffix(".png")
    film.write_strip(strip, film.strip(seen.frames, explanation))
    found = ", ".join(f"{value:+.3f}" for value in explanation.segments)
    print(f"{printable(str(arguments.video))}: {top(model, explanation.probabilities, 1)}")
    print(f"{explanation.method} for {model.labels[explanation.label]}; eighths of time: {found}")
    print(f"wrote {arguments.output} and {strip}")


def show_results(arguments: argparse.Namespace) -> None:
    """Print the table of all evaluated candidates."""
    leaderboard.show(Workspace())


def doctor(arguments: argparse.Namespace) -> None:
    """Print versions, devices, models and the winner, for a bug report."""
    import platform
    import shutil

    import av

    from kinoflow.models import registry
    from kinoflow.system.terminal import silenced_stderr

    with silenced_stderr():
        import keras
    codecs = ".".join(map(str, av.library_versions["libavcodec"]))
    winner = Workspace().winner
    facts = {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **bundle.library_versions(),
        "backend": f"{keras.backend.backend()}, devices {', '.join(_devices())}",
        "ffmpeg": f"{av.ffmpeg_version_info} in PyAV, libavcodec {codecs}",
        "models": ", ".join(registry.MODULES),
        "disk": f"{shutil.disk_usage('.').free / 1e9:.1f} GB free",
        "git": shutil.which("git") or "missing: DVC needs it",
        "winner": Winner.read(winner).winner if winner.exists() else "none yet",
    }
    width = max(map(len, facts)) + 2
    for name, fact in facts.items():
        print(f"{name:<{width}}{fact}")


def _devices() -> list[str]:
    import keras

    return list(keras.distribution.list_devices()) or ["cpu"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="kinoflow", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--model", type=Path, help="a bundle; the winner's if not given")
    shared.add_argument("--top", type=count, default=1, help="labels to print")

    for name, module, function in (
        ("predict", predict, predict.predict),
        ("live", live, live.live),
    ):
        about = (function.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, parents=[shared], help=about)
        module.add_arguments(command)
        command.set_defaults(run=function)

    command = commands.add_parser("explain", help=(explain.__doc__ or "").partition("\n")[0])
    command.add_argument("video", type=Path)
    command.add_argument("--model", type=Path, help="a bundle; the winner's if not given")
    command.add_argument(
        "--method",
        choices=("auto", *METHODS),
        default="auto",
        help="how evidence is found; auto: as suits the architecture",
    )
    command.add_argument("--label", help="the class to explain; the most probable if not given")
    command.add_argument(
        "-o", "--output", type=Path, required=True, help="the film, .mp4; a strip, .png, is beside"
    )
    command.set_defaults(run=explain)

    command = commands.add_parser(
        "style",
        help=(style.style.__doc__ or "").partition("\n")[0],
        epilog="`kinoflow style train --help` is about training a network for one style.",
    )
    style.add_arguments(command)
    command.set_defaults(run=style.style)
    command = commands.add_parser(_STYLE_TRAIN, prog="kinoflow style train")
    style_train.add_arguments(command)
    command.set_defaults(run=style_train.train)

    command = commands.add_parser("results", help=show_results.__doc__)
    command.set_defaults(run=show_results)

    command = commands.add_parser(
        "export",
        help=(export.model.__doc__ or "").partition("\n")[0],
        epilog="`kinoflow export fiftyone --help` is about a dataset for FiftyOne.",
    )
    export.add_arguments(command)
    command.set_defaults(run=export.model)
    command = commands.add_parser(_EXPORT_FIFTYONE, prog="kinoflow export fiftyone")
    export.add_fiftyone_arguments(command)
    command.set_defaults(run=export.export_fiftyone)

    command = commands.add_parser("doctor", help=doctor.__doc__)
    command.set_defaults(run=doctor)

    words = sys.argv[1:]
    if behind := _BEHIND.get(tuple(words[:2])):
        words = [behind, *words[2:]]
    arguments = parser.parse_args(words)
    run(lambda: arguments.run(arguments))


if __name__ == "__main__":
    main()
