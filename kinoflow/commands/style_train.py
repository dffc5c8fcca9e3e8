"""`kinoflow style train`: a network that repaints frames in one style, fast enough to play."""

import argparse
import time
from pathlib import Path

import numpy as np

from kinoflow.commands.shared import count
from kinoflow.commands.style import add_seeing, seeing
from kinoflow.style.fast import Recipe
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import printable, silenced_stderr
from kinoflow.workspace import Workspace

_DEFAULT = Recipe()
_SHOWN = (240, 320)  # the size of the frames whose speed is told


def train(arguments: argparse.Namespace) -> None:
    """Train a network that repaints frames in one style, on the training clips of this folder.

    An interrupted training goes on where it was when it is run again.
    """
    output: Path = arguments.output
    if output.suffix != ".keras":
        raise UserError(f"{output} must end in .keras: the network is a file of Keras")
    # here, since they load Keras
    from kinoflow.data import clips
    from kinoflow.style import pictures

    workspace = Workspace()
    table = clips.split_table(workspace)
    _, sets = clips.load_sets(workspace, ("train",), table)
    styles = [pictures.read(path) for path in arguments.style]
    with silenced_stderr():
        from kinoflow.style import fast_training
        from kinoflow.style.optimise import Style
    features, _ = seeing(arguments)
    style = Style(features, styles, longest=arguments.style_size)
    recipe = Recipe(**{name: getattr(arguments, name) for name in Recipe.model_fields})
    names = [path.name for path in arguments.style]
    data = clips.data_md5(workspace, table)
    about = fast_training.train(output, style, names, sets["train"], data, recipe)
    print(
        f"{printable(str(output))}: style distance {about.losses['style']:.3f}, content distance "
        f"{about.losses['content']:.3f}, {_speed(output):.0f} frames a second of "
        f"{_SHOWN[1]}x{_SHOWN[0]} here"
    )


def _speed(path: Path) -> float:
    """How many frames a second a network repaints on this machine."""
    from kinoflow.style import fast

    network = fast.load(path)
    frames = np.zeros((4, *_SHOWN, 3), np.float32)
    network(frames)
    seconds = []
    for _ in range(3):
        begun = time.monotonic()
        network(frames)
        seconds.append(time.monotonic() - begun)
    return len(frames) / min(seconds)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `style train`."""
    parser.add_argument(
        "--style",
        type=Path,
        action="append",
        required=True,
        metavar="PICTURE",
        help="how to paint; several are blended",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the network, .keras")
    parser.add_argument(
        "--style-size",
        type=count,
        default=256,
        help="pixels of the pictures' longer side; larger gives larger strokes (%(default)s)",
    )
    share = _number(0, 1)
    parser.add_argument(
        "--strength",
        type=share,
        default=_DEFAULT.strength,
        help="of the style, from 0 to 1 (%(default)s)",
    )
    parser.add_argument(
        "--smoothness",
        type=_number(0),
        default=_DEFAULT.smoothness,
        help="more gives calmer areas (%(default)s)",
    )
    parser.add_argument(
        "--consistency",
        type=_number(0),
        default=_DEFAULT.consistency,
        help="more makes video flicker less (%(default)s)",
    )
    whole = {
        "size": "pixels of the longer side of a frame in training",
        "steps": "steps of training",
        "batch": "pairs of frames that a step learns from",
        "filters": "of the network's first layer; fewer are faster",
        "blocks": "residual blocks of the network; fewer are faster",
    }
    for name, about in whole.items():
        parser.add_argument(
            f"--{name}",
            type=count,
            default=getattr(_DEFAULT, name),
            help=f"{about} (%(default)s)",
        )
    parser.add_argument(
        "--pattern",
        type=_count_or_none,
        default=_DEFAULT.pattern,
        help="side of the learned pattern that bare areas are painted with, in places of four by "
        "four pixels; larger comes nearer to the style, smaller keeps more of what is shown, 0: "
        "none (%(default)s)",
    )
    parser.add_argument(
        "--learning-rate",
        type=_number(1e-6, 1),
        default=_DEFAULT.learning_rate,
        help="at first; it falls to 0 (%(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=_DEFAULT.seed, help="of all that is random (%(default)s)"
    )
    add_seeing(parser)


def _count_or_none(text: str) -> int:
    """The type of an option that counts something, or is 0."""
    return 0 if text == "0" else count(text)


class _number:  # noqa: N801  argparse names a type in messages by its name
    """The type of an option that is a number, from `least` to `most`."""

    def __init__(self, least: float, most: float = np.inf) -> None:
        self.least, self.most = least, most

    def __call__(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not self.least <= value <= self.most or np.isinf(value):
            bound = f" to {self.most:g}" if np.isfinite(self.most) else " on"
            raise argparse.ArgumentTypeError(
                f"must be a number from {self.least:g}{bound}, got {text}"
            )
        return value
