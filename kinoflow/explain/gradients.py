"""Gradients with respect to pixels: gradients times input, and integrated gradients.

Both say how a class's logit differs between a clip and a baseline, shared out over pixels.
Shrikumar et al., "Not Just a Black Box: Learning Important Features Through Propagating Activation
Differences" (2016); Sundararajan et al., "Axiomatic Attribution for Deep Networks" (ICML 2017).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kinoflow.explain.tracing import gradient, logits, trace
from kinoflow.video.spec import Frames


class Gradients:
    """Gradients of one model.

    Args:
        model: the model.
        steps: how many points of the straight line between baseline and clip are averaged over;
            1: the clip alone, which is gradients times input.
        turn: a context to enter around each use of the network.
    """

    def __init__(
        self,
        model: keras.Model,
        steps: int = 1,
        turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._turn = turn
        traced = trace(model)
        self._network = keras.Model(traced.clip, traced.probabilities)
        # Points lie closer together near the baseline: u^3 for evenly spread u. A still clip has no
        # differences between frames to normalise, so that a network with normalisation changes
        # within the first hundredth of the way, which evenly spread points would miss.
        u = (np.arange(steps) + 0.5) / steps
        self._points = u**3 if steps > 1 else np.ones(1)
        self._shares = 3 * u**2 / steps if steps > 1 else np.ones(1)

    def __call__(self, views: Frames, baselines: Frames, label: int) -> NDArray[np.float32]:
        """What each pixel adds to the class's logit.

        Args:
            views: uint8 (B, T, H, W, 3), as the model takes them.
            baselines: of the same shape, what stands for no evidence.
            label: index of the class.

        Returns float32 (B, T, H, W), summed over colours; negative where a pixel speaks against the
        class. With many steps the sum over a view is the logit for the view less that for its
        baseline (see `kinoflow.explain.tracing.logits`).
        """
        start = baselines.astype(np.float32)
        change = views.astype(np.float32) - start

        def score(clips: Any) -> Any:
            return logits(self._network(clips, training=False), label)

        total = np.zeros_like(change)
        for point, share in zip(self._points, self._shares, strict=True):
            with self._turn():
                slope = gradient(score, start + np.float32(point) * change)
            total += np.float32(share) * slope
        return (total * change).sum(axis=-1)
