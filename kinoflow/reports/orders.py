"""Clips with their frames in another order: whether a model needs time to tell classes apart.

A class that is told from shuffled or frozen frames is told by what a still shows. A class that is
told only from frames in their order is told by motion.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kinoflow.bundle import Bundle
from kinoflow.data.clips import ClipSet
from kinoflow.system.terminal import progress
from kinoflow.video.padding import valid_frames
from kinoflow.video.spec import Frames

# from a number of frames to their new order: an index of a frame for each
Order = Callable[[int, np.random.Generator], NDArray[np.int64]]

ORDERS: dict[str, Order] = {
    "shuffled": lambda frames, rng: rng.permutation(frames),
    "reversed": lambda frames, rng: np.arange(frames)[::-1],
    "frozen": lambda frames, rng: np.full(frames, frames // 2),
}


def reordered(model: Bundle, clip: Frames, order: Order, rng: np.random.Generator) -> Frames:
    """A clip that shows a model the same frames as before in another order.

    In each of its temporal views the model sees the frames that it sees of the clip itself. So the
    answer of a model that is blind to order stays the same, but for rounding and for `frozen`.
    Padding (`padding: mask`) stays where it is.

    Args:
        model: the bundle that will classify the clip.
        clip: uint8 RGB (T, H, W, 3), sampled as the bundle says.
        order: one of `ORDERS`.
        rng: what a random order is drawn from; all views have the same order.
    """
    valid = valid_frames(clip, masked=model.clip.padding == "mask")
    views = model.times(clip)
    shown = min(valid, views.shape[1])
    taken = order(shown, rng)
    changed = clip.copy()
    for times in views:
        changed[times[:shown]] = clip[times[taken]]
    return changed


def predict_reordered(model: Bundle, clipset: ClipSet, seed: int) -> dict[str, NDArray[np.int64]]:
    """The predicted classes (N,) of the clips of a set by the order of their frames.

    Args:
        model: the bundle.
        clipset: the clips.
        seed: of the permutations of `shuffled`, one for each clip.
    """
    predicted = {name: np.empty(len(clipset), np.int64) for name in ORDERS}
    for row in progress(range(len(clipset)), "evaluate other orders of frames"):
        clip = clipset.clip(row)
        for name, order in ORDERS.items():
            changed = reordered(model, clip, order, np.random.default_rng([seed, row]))
            predicted[name][row] = model.predict(changed[None])[0].argmax()
    return predicted
