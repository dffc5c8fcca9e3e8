"""The architectures, one module per family.

A builder takes the clip spec of the store, the spec that the model sees (at most the store's),
the number of classes, and its own options by keyword. It returns a Keras model from uint8 RGB
(B, T, H, W, 3), T frames of the stored size, to float32 probabilities (B, classes); scaling of
values and of size lives inside the model.
"""

import inspect
from collections.abc import Callable
from typing import Any

import keras

from kinoflow.console import UserError
from kinoflow.models.c3d import c3d
from kinoflow.models.cnn_lstm import cnn_lstm
from kinoflow.models.cnn_rnn import cnn_rnn
from kinoflow.models.convlstm import convlstm
from kinoflow.models.csn import csn
from kinoflow.models.frame_moments import frame_moments
from kinoflow.models.frame_voting import frame_voting
from kinoflow.models.i3d import i3d
from kinoflow.models.lrcn import lrcn
from kinoflow.models.motion_histograms import motion_histograms
from kinoflow.models.movinet import movinet
from kinoflow.models.r2plus1d import r2plus1d
from kinoflow.models.r3d import r3d
from kinoflow.models.resnet_lstm import resnet_lstm
from kinoflow.models.timesformer import timesformer
from kinoflow.models.vgg_lstm import vgg_lstm
from kinoflow.models.vivit import vivit
from kinoflow.params import Candidate
from kinoflow.video import ClipSpec

MODELS: dict[str, Callable[..., keras.Model]] = {
    "frame_voting": frame_voting,
    "frame_moments": frame_moments,
    "motion_histograms": motion_histograms,
    "cnn_rnn": cnn_rnn,
    "cnn_lstm": cnn_lstm,
    "lrcn": lrcn,
    "convlstm": convlstm,
    "vgg_lstm": vgg_lstm,
    "resnet_lstm": resnet_lstm,
    "c3d": c3d,
    "r3d": r3d,
    "r2plus1d": r2plus1d,
    "csn": csn,
    "i3d": i3d,
    "timesformer": timesformer,
    "vivit": vivit,
    "movinet": movinet,
}


def build(candidate: Candidate, stored: ClipSpec, classes: int) -> keras.Model:
    """The candidate's model, with fresh weights.

    Raises UserError for an option that its builder does not have, or a value it refuses.
    """
    builder = MODELS[candidate.model]
    known = {
        name: parameter
        for name, parameter in inspect.signature(builder).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    unknown = candidate.options.keys() - known.keys()
    if unknown:
        raise UserError(
            f"model {candidate.model} has no option {', '.join(sorted(unknown))}; "
            f"there are {', '.join(known)}"
        )
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in candidate.options.items()
    }
    try:
        return builder(stored, candidate.spec(stored), classes, **options)
    except (ValueError, TypeError) as error:
        raise UserError(f"model {candidate.model} cannot be built: {error}") from error
