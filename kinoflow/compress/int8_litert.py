"""int8 in LiteRT's format, by TensorFlow's converter."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.compress.quantise import Judge
from kinoflow.compress.runner import runtime_litert
from kinoflow.system.errors import UserError
from kinoflow.video.spec import Frames


def quantised(function: Any, model: Bundle, fitted: Frames, judge: Judge | None) -> bytes:
    """The model of a TensorFlow function in int8, as far as LiteRT has operators for it.

    The converter chooses the layers. If what lies between them, in int8 too, costs too much, it is
    left in float32: then weights alone are kept in int8, and a product rounds what it takes to the
    range of the moment.

    Args:
        function: of one clip, whose weights are constants.
        model: the bundle, for its views and answers.
        fitted: training clips (N, T, H, W, 3) from which ranges of values are found.
        judge: who says what is lost; None: nobody.

    Raises UserError if int8 loses too much both ways.
    """
    views = np.concatenate([model.views(clip) for clip in fitted])
    whole = _converted(function, views)
    if judge is None:
        return whole
    before = model.pooled(judge.frames)
    for network in (whole, _converted(function, None)):
        if judge.lost(before, _answers(network, model, judge.frames)) <= judge.loss:
            return network
    raise UserError(
        f"int8 loses more than {judge.loss:.1%} of {len(before)} clips that it was not fitted to, "
        "even of weights alone: take float16"
    )


def _converted(function: Any, views: Frames | None) -> bytes:
    """The model; without views (N, T, H, W, 3), its weights alone are in int8."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if views is not None:
        converter.representative_dataset = lambda: ([view[None]] for view in views)
    return bytes(converter.convert())


def _answers(network: bytes, model: Bundle, clips: Frames) -> Probabilities:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(network)
        run = runtime_litert.load(path)
        return np.stack(
            [np.mean([run(view[None])[0] for view in model.views(clip)], axis=0) for clip in clips]
        )
