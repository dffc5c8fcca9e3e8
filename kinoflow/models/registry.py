"""The names of all architectures; importing this imports neither them nor Keras."""

import difflib
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

# from an architecture's name to the module of kinoflow.models that holds its builder, which is a
# function of the architecture's name
MODULES = {
    "frame_voting": "frames",
    "frame_moments": "frames",
    "motion_histograms": "motion_histograms",
    "cnn_rnn": "recurrent",
    "cnn_lstm": "recurrent",
    "lrcn": "recurrent",
    "convlstm": "convlstm",
    "vgg_lstm": "recurrent",
    "resnet_lstm": "recurrent",
    "c3d": "c3d",
    "r3d": "resnet3d",
    "r2plus1d": "resnet3d",
    "csn": "resnet3d",
    "i3d": "i3d",
    "timesformer": "transformers",
    "vivit": "transformers",
    "movinet": "movinet",
}


def check(name: str) -> None:
    """Raise ValueError unless there is an architecture of that name."""
    if name not in MODULES:
        close = difflib.get_close_matches(name, MODULES, n=1)
        hint = f": did you mean {close[0]}?" if close else ""
        raise ValueError(f"no model {name!r}; there are {', '.join(sorted(MODULES))}{hint}")


def builder(name: str) -> "Callable[..., keras.Model]":
    """The function that builds the architecture called `name`; see `kinoflow.models`."""
    found: Callable[..., keras.Model] = getattr(import_module(module(name)), name)
    return found


def module(name: str) -> str:
    """The dotted name of the module that holds the builder called `name`."""
    return f"kinoflow.models.{MODULES[name]}"
