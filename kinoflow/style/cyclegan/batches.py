"""Batches of pictures from two domains, drawn from each by itself."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kinoflow.style.cyclegan.store import Moments
from kinoflow.style.flow import motion

Pixels = NDArray[np.float32]


class UnpairedBatches(keras.utils.PyDataset):
    """Batches of as many pictures of domain a as of b; which of them meet is left to chance.

    A batch is what `kinoflow.style.cyclegan.model.CycleGANModel` takes. Pictures are cropped, and
    half of them are mirrored. What is drawn depends on the seed and the epoch alone.

    Args:
        a: pictures of the first domain.
        b: pictures of the second.
        size: of a batch.
        crop: the side of what is cut out of a picture, in pixels; None: the whole picture.
        steps: how many batches an epoch has; None: as many as the larger domain fills.
        temporal: whether batches also hold the frame before each picture, and how pixels moved.
        seed: of what is drawn.

    Raises ValueError for a domain without pictures.
    """

    def __init__(
        self,
        a: Moments,
        b: Moments,
        *,
        size: int,
        crop: int | None,
        steps: int | None,
        temporal: bool,
        seed: int,
    ) -> None:
        super().__init__(workers=1)
        if not len(a) or not len(b):
            raise ValueError("a domain without pictures")
        self.domains = {"a": a, "b": b}
        self.size = size
        self.shape: tuple[int, int] = (crop, crop) if crop else a.pairs.shape[2:4]
        self.steps = steps or max(1, max(len(a), len(b)) // size)
        self.seed = seed
        self.flows = {name: _flows(each) for name, each in self.domains.items()} if temporal else {}
        self.set_epoch(0)

    def __len__(self) -> int:
        return self.steps

    def set_epoch(self, epoch: int) -> None:
        """Draw the pictures of this epoch, counted from 0."""
        self.epoch = epoch
        rng = np.random.default_rng((self.seed, epoch))
        count = self.steps * self.size
        self.order, self.mirrored, self.corner = {}, {}, {}
        for name, domain in self.domains.items():
            spare = np.subtract(domain.pairs.shape[2:4], self.shape) + 1
            self.order[name] = _drawn(len(domain), count, rng)
            self.mirrored[name] = rng.random(count) < 0.5
            self.corner[name] = rng.integers(0, spare, (count, 2))

    def on_epoch_end(self) -> None:
        self.set_epoch(self.epoch + 1)

    def __getitem__(self, index: int) -> tuple[dict[str, NDArray[Any]]]:
        places = range(index * self.size, (index + 1) * self.size)
        batch: dict[str, NDArray[Any]] = {}
        for name in self.domains:
            drawn = [self._draw(name, place) for place in places]
            batch |= {key: np.stack([each[key] for each in drawn]) for key in drawn[0]}
        return (batch,)

    def _draw(self, name: str, place: int) -> dict[str, NDArray[Any]]:
        """What a batch holds of one picture of a domain."""
        row, mirrored = self.order[name][place], self.mirrored[name][place]
        (top, left), (height, width) = self.corner[name][place], self.shape
        window = (slice(top, top + height), slice(left, left + width))
        turn = slice(None, None, -1 if mirrored else 1)
        before, picture = (
            each[window][:, turn].astype(np.float32) / 255 for each in self.domains[name].pairs[row]
        )
        if not self.flows:
            return {name: picture}
        backward, visible = (each[row][window][:, turn] for each in self.flows[name])
        backward = backward * np.array([-1 if mirrored else 1, 1], np.float32)
        places, shares = flow_as_places(backward)
        return {
            name: picture,
            f"{name}_before": before,
            f"{name}_visible": (visible * _within(backward))[..., None],
            f"{name}_places": places,
            f"{name}_shares": shares,
        }


def flow_as_places(backward: Pixels) -> tuple[NDArray[np.int32], Pixels]:
    """Optical flow as the four pixels that each pixel comes from, and how much of each.

    Args:
        backward: from a frame to the frame before it, (H, W, 2) as x and y in pixels.

    Returns indices into the H * W pixels, int32 (H * W, 4), and shares, float32 (H * W, 4). What
    comes from beyond the edge is that of the edge.
    """
    height, width = backward.shape[:2]
    x = np.clip(np.arange(width) + backward[..., 0], 0, width - 1)
    y = np.clip(np.arange(height)[:, None] + backward[..., 1], 0, height - 1)
    left, top = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    x, y = x - left, y - top
    places = np.stack([top * width + left, top * width + right, bottom * width + left,
                       bottom * width + right], -1)  # fmt: skip
    shares = np.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x], -1)
    return places.reshape(-1, 4), shares.astype(np.float32).reshape(-1, 4)


def _flows(domain: Moments) -> tuple[Pixels, Pixels]:
    """How pixels moved, (N, H, W, 2), and which were visible before, (N, H, W)."""
    motions = [motion(before, after) for before, after in domain.pairs]
    return np.stack([m.backward for m in motions]), np.stack([m.visible for m in motions])


def _within(backward: Pixels) -> Pixels:
    """1 where a pixel comes from within the window that flow (H, W, 2) was cut out by, else 0."""
    height, width = backward.shape[:2]
    x = np.arange(width) + backward[..., 0]
    y = np.arange(height)[:, None] + backward[..., 1]
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).astype(np.float32)


def _drawn(available: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows at random; none a second time before each was drawn once."""
    rounds = -(-wanted // available)
    return np.concatenate([rng.permutation(available) for _ in range(rounds)])[:wanted]
