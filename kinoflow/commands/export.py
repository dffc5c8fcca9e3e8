"""`kinoflow export`: a trained model for other runtimes, and what a run has found for FiftyOne."""

import argparse
import sys
from pathlib import Path

from kinoflow.commands.shared import load_model
from kinoflow.compress.formats import FORMATS
from kinoflow.export import fiftyone
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import printable
from kinoflow.workspace import Workspace


def model(arguments: argparse.Namespace) -> None:
    """Write a trained model for another runtime, with a script that needs no kinoflow.

    `kinoflow export fiftyone` writes videos and predictions instead.
    """
    # here, since the decoder and the tables take a while to import
    from kinoflow.compress import clips, exporting

    source = load_model(arguments.bundle)
    workspace, description = Workspace(), source.description
    if arguments.output.exists():
        raise UserError(f"{arguments.output} exists already: name another folder, or remove it")
    compared = (
        clips.of_videos(arguments.video, description)
        if arguments.video
        else clips.held_out(workspace, description)
    )
    calibration = judge = None
    if arguments.precision == "int8":
        calibration = clips.of_side(workspace, description, "train", clips.FITTED)
        judge = clips.judge(workspace, description)
    form = exporting.export(
        source.folder,
        arguments.output,
        arguments.format,
        compared,
        precision=arguments.precision,
        calibration=calibration,
        judge=judge,
    )
    about, folder = form.details, printable(str(arguments.output))
    print(
        f"{folder}: {about.format} {about.precision}, {about.bytes / 1e6:.2f} MB "
        f"(model.keras: {about.bundle_bytes / 1e6:.2f} MB), {about.milliseconds:.1f} ms a clip "
        f"here (Keras: {about.bundle_milliseconds:.1f} ms)"
    )
    print(
        f"compared on {about.compared_on} ({about.clips}): {about.agreement:.0%} have the same "
        f"label, probabilities change by {about.largest_change:.1g} at most"
    )
    if about.float_layers:
        print(f"{about.int8_layers} layers in int8; {about.float_layers} lost too much: in float")
    print(f"python {folder}/predict.py VIDEO answers without kinoflow", file=sys.stderr)


def export_fiftyone(arguments: argparse.Namespace) -> None:
    """Write a dataset that FiftyOne loads: videos, labels, predictions, explanations."""
    found = fiftyone.export(Workspace(), arguments.output)
    for name, change in found.changed.items():
        print(f"warning: {name} was scored before {change} changed", file=sys.stderr)
    who = ", ".join(found.candidates) or "no candidate yet"
    print(
        f"{arguments.output}: {found.videos} videos, predictions of {who}, "
        f"{found.explained} explanations"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `export`."""
    parser.add_argument("bundle", type=Path, nargs="?", help="a bundle; the winner's if not given")
    # the names are checked by the library, which suggests close ones
    parser.add_argument("--format", required=True, help=", ".join(FORMATS))
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the folder to write; it must not exist"
    )
    parser.add_argument(
        "--precision",
        default="float32",
        help="float32, float16 or bfloat16: weights of half the size, or int8: faster, and a "
        "little off (%(default)s)",
    )
    parser.add_argument(
        "--video",
        type=Path,
        action="append",
        help="compare on this video; may be repeated. Else on clips of this folder's test set",
    )


def add_fiftyone_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `export fiftyone`."""
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("work/fiftyone"), help="folder to write"
    )
