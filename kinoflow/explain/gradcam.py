"""Grad-CAM in space and time, with its layer found by itself.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization"
(ICCV 2017).
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from kinoflow.explain.tracing import Call, Trace, gradient, logits, trace
from kinoflow.models.layers.attention import AttentionAlong
from kinoflow.models.layers.folding import FoldTime
from kinoflow.video.spec import Frames

# A map with fewer rows or columns does not say where: layers after the last such map are skipped.
# No more than 4: further from the answer, one weight for a whole map says less. On the embedded
# data maps of 8x8 in R(2+1)D pointed away from the actor, those of 4x4 at its end at it.
_FINE = 4
# for models that have no map as fine as that
_COARSE = 2


@dataclass(frozen=True)
class Layer:
    """Where a model has the maps that Grad-CAM weighs."""

    index: int  # of the call
    name: str
    frames: int  # time steps of the maps
    folded: bool  # whether the maps are those of single frames, (B * T, h, w, C)
    side: int  # the shorter side of the maps


def find_layer(model: keras.Model) -> Layer | None:
    """The last layer of a model that gives maps; None if there is none.

    Maps are features (B, T, h, w, C), or (B * T, h, w, C) of folded frames, that depend on weights.
    The last layer whose maps have at least 4 rows and columns is taken; in a model without, the
    last one of the finest maps. Transformers have none: their tokens mix places from the first
    block on.
    """
    return _find_layer(trace(model))


def _find_layer(traced: Trace) -> Layer | None:
    if any(isinstance(call.layer, AttentionAlong) for call in traced.calls):
        return None
    found = _maps(traced.calls)
    if not found:
        return None
    wanted = min(_FINE, max(layer.side for layer in found))
    return [layer for layer in found if layer.side >= wanted][-1]


def _maps(calls: tuple[Call, ...]) -> list[Layer]:
    """The layers that give maps, in order."""
    found: list[Layer] = []
    frames, learned = 0, False
    for index, call in enumerate(calls):
        learned = learned or bool(call.layer.weights)
        if isinstance(call.layer, FoldTime):
            frames = call.inputs.shape[1]
        shape = call.output.shape
        folded = len(shape) == 4 and shape[0] is None and frames > 0
        if not learned or not (folded or len(shape) == 5):
            continue
        side = min(shape[-3:-1])
        if side >= _COARSE:
            steps = frames if folded else shape[1]
            found.append(Layer(index, call.layer.name, steps, folded, side))
    return found


class GradCam:
    """Grad-CAM of one model.

    Args:
        model: the model.

    Raises ValueError for a model without maps.
    """

    def __init__(self, model: keras.Model) -> None:
        traced = trace(model)
        layer = _find_layer(traced)
        if layer is None:
            raise ValueError(f"{model.name} has no maps of features in space")
        self.layer = layer
        maps = traced.calls[layer.index].output
        self._before = keras.Model(traced.clip, maps)
        # what follows the maps may see the clip as well, for the mask of its padding
        self._after = keras.Model([traced.clip, maps], traced.probabilities)

    def __call__(self, views: Frames, label: int) -> NDArray[np.float32]:
        """What speaks for a class in each place and at each time.

        Args:
            views: uint8 (B, T, H, W, 3), as the model takes them.
            label: index of the class.

        Returns float32 (B, t, h, w), 0 or more.

        A map of features is weighed, at each time step, by the mean over space of the gradient of
        the class's logit: a time step is to a clip what an image is to the paper. In front of a
        head that averages over time and space all steps have the same weights.
        """
        clips = ops.convert_to_tensor(views.astype(np.float32))
        maps = np.asarray(ops.convert_to_numpy(self._before(clips, training=False)), np.float32)

        def score(maps: Any) -> Any:
            return logits(self._after([clips, maps], training=False), label)

        slopes = gradient(score, maps)
        if self.layer.folded:
            unfolded = (len(views), self.layer.frames, *maps.shape[1:])
            maps, slopes = maps.reshape(unfolded), slopes.reshape(unfolded)
        weights = slopes.mean(axis=(2, 3), keepdims=True)
        return np.maximum((maps * weights).sum(axis=-1), 0)
