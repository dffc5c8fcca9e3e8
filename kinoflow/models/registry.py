"""The architectures by name, known without importing any of them, nor Keras."""

import difflib
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

# the module of kinoflow.models that holds the builder of that name
MODULES = {
    "frame_voting": "frame_voting",
    "frame_moments": "frame_moments",
    "motion_histograms": "motion_histograms",
    "cnn_rnn": "cnn_rnn",
    "cnn_lstm": "cnn_lstm",
    "lrcn": "lrcn",
    "convlstm": "convlstm",
    "vgg_lstm": "vgg_lstm",
    "resnet_lstm": "resnet_lstm",
    "c3d": "c3d",
    "r3d": "r3d",
    "r2plus1d": "r2plus1d",
    "csn": "csn",
    "i3d": "i3d",
    "timesformer": "timesformer",
    "vivit": "vivit",
    "movinet": "movinet",
}


def check(name: str) -> None:
    """Raise ValueError unless there is an architecture of that name."""
    if name not in MODULES:
        close = difflib.get_close_matches(name, MODULES, n=1)
        hint = f": did you mean {close[0]}?" if close else ""
        raise ValueError(f"no model {name!r}{hint}; there are {', '.join(sorted(MODULES))}")


def builder(name: str) -> "Callable[..., keras.Model]":
    """The function that builds the architecture of that name; see `kinoflow.models`."""
    found: Callable[..., keras.Model] = getattr(import_module(module(name)), name)
    return found


def module(name: str) -> str:
    """The dotted name of the module that holds the builder of that name."""
    return f"kinoflow.models.{MODULES[name]}"
