"""Layers that compute in 8-bit integers, fitted after training; those that lose too much do not.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference" (CVPR 2018): weights and what layers take are rounded to 256 steps of a range, which is
found from clips of training recordings. `int8_openvino` and its like know how formats do that.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from kinoflow.bundle import Probabilities
from kinoflow.system.errors import UserError
from kinoflow.video.spec import Frames

LEAST = 8  # clips that ranges of values can be found from at all
_RANKED = 24  # clips by which layers are ranked: enough for an order, and quick for each layer
_TINY = 1e-7  # below it, probabilities count as this much

Layer = TypeVar("Layer", bound=Hashable)
Network = TypeVar("Network")


class TooCoarseError(UserError):
    """Whatever layers stay in float, int8 loses more than the judge allows."""


@dataclass(frozen=True)
class Judge:
    """Clips by which it is decided which layers stay in float.

    None of them may be among those that int8 is fitted to, nor among those that the form is tested
    on: validation clips, or training clips that were held back.
    """

    frames: Frames  # (N, T, H, W, 3) as the bundle takes them
    # (N,) class indices; None: the bundle's own answers count as right
    truth: NDArray[np.int64] | None = None
    loss: float = 0.01  # share of these clips by which int8 may have fewer right

    def lost(self, before: Probabilities, after: Probabilities) -> float:
        """By which share of the clips fewer are right.

        Args:
            before: what the model answered in float, (N, classes).
            after: what it answers in int8.
        """
        guesses = before.argmax(axis=1)
        right = guesses if self.truth is None else self.truth
        return float(np.mean(guesses == right) - np.mean(after.argmax(axis=1) == right))


@dataclass(frozen=True)
class Layers:
    """How many layers of a form compute in which numbers."""

    in_int8: int
    in_float: int  # of those that could have been in int8


@dataclass(frozen=True)
class Method(Generic[Layer, Network]):
    """How a format quantises, for `accurate`.

    Args:
        layers: all that can be in int8.
        fit: the network with all layers in int8 but the given ones.
        without: from such a network and one layer, what it answers with this layer in float,
            otherwise unchanged: a cheaper `fit`, which need not be exact.
        answer: from a network and clips (N, T, H, W, 3) to probabilities (N, classes).
    """

    layers: Sequence[Layer]
    fit: Callable[[Sequence[Layer]], Network]
    without: Callable[[Network, Layer, Frames], Probabilities]
    answer: Callable[[Network, Frames], Probabilities]


def accurate(
    method: Method[Layer, Network], exact: Callable[[Frames], Probabilities], judge: Judge | None
) -> tuple[Network, Layers]:
    """Quantise as many layers as accuracy allows.

    All layers are quantised first. If that loses too much, layers are ranked by how much nearer
    the answers come to the exact ones when that layer alone is in float (Kullback-Leibler
    divergence), and put back in that order, by half as many more each time, until the judge is
    content.

    Args:
        method: how.
        exact: what the network answers in float, from clips (N, T, H, W, 3) to (N, classes).
        judge: who says what is lost; None: nobody, and all layers are quantised.

    Returns the network, and how many of its layers are in int8.

    Raises TooCoarseError if no layer can be in int8.
    """
    network = method.fit(())
    count = len(method.layers)
    if judge is None:
        return network, Layers(count, 0)
    before = exact(judge.frames)
    kept: Sequence[Layer] = ()
    ranked: Sequence[Layer] = ()
    while judge.lost(before, method.answer(network, judge.frames)) > judge.loss:
        if not ranked:
            ranked = _ranked(method, network, before, judge)
        if len(kept) + 1 >= count:
            raise TooCoarseError(
                f"int8 loses more than {judge.loss:.1%} of {len(before)} clips that it was not "
                "fitted to, even with one layer in int8 alone: take float16 or bfloat16"
            )
        kept = ranked[: min(len(kept) + max(1, len(kept) // 2), count - 1)]
        network = method.fit(kept)
    return network, Layers(count - len(kept), len(kept))


def _ranked(
    method: Method[Layer, Network], network: Network, before: Probabilities, judge: Judge
) -> list[Layer]:
    """The layers, first the one without whose rounding answers are nearest to the exact ones."""
    rows = np.unique(np.linspace(0, len(before) - 1, _RANKED).astype(np.int64))
    shown, wanted = judge.frames[rows], before[rows]
    distances = [
        divergence(wanted, method.without(network, layer, shown)) for layer in method.layers
    ]
    return [method.layers[index] for index in np.argsort(distances, kind="stable")]


def divergence(wanted: Probabilities, given: Probabilities) -> float:
    """The mean Kullback-Leibler divergence of answers (N, classes) from the wanted ones."""
    one, other = np.maximum(wanted, _TINY), np.maximum(given, _TINY)
    return float((one * np.log(one / other)).sum(axis=1).mean())
