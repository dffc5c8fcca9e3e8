"""Views in batches of the size that a model in another format takes, no more and no fewer."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.video.spec import Frames

_MOST = 8  # views in a batch, which all are in memory at a time


def views(model: Bundle) -> int:
    """How many views an answer has: a model that takes every frame has one."""
    return len(model.views(np.ones(model.clip.shape, np.uint8)))


def size(views: int) -> int:
    """How many views a model should take at a time, if an answer has so many: a divisor of it."""
    return next(size for size in range(min(views, _MOST), 0, -1) if views % size == 0)


def cut(views: Frames, size: int) -> Iterator[Frames]:
    """Views (N, T, H, W, 3) in batches; the last view is repeated until the last one is full."""
    for start in range(0, len(views), size):
        batch = views[start : start + size]
        missing = size - len(batch)
        yield np.concatenate([batch, *[batch[-1:]] * missing]) if missing else batch


def in_batches(
    run: Callable[[Frames], Probabilities],
    size: int,
    mapped: Callable[..., Iterable[Probabilities]] = map,
) -> Callable[[Frames], Probabilities]:
    """A model of batches of one size as a function of any number of views.

    Args:
        run: from views (size, T, H, W, 3) to probabilities (size, classes).
        size: of a batch.
        mapped: what applies it to all batches: `map`, or an executor's.

    Returns a function from views (N, T, H, W, 3) to probabilities (N, classes).
    """
    return lambda views: np.concatenate([*mapped(run, cut(views, size))])[: len(views)]
