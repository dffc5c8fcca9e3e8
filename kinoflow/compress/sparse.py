"""Magnitude pruning: the smallest weights become 0 while the network is trained once more.

It makes files smaller, not answers faster: runtimes multiply by 0 as by any other number. A zero
takes four bytes until the file is compressed, so `compressed_bytes` measures what is gained.
"""

import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from kinoflow.bundle import Bundle
from kinoflow.compress import rewrite
from kinoflow.compress.fine_tune import fine_tune
from kinoflow.compress.settings import FineTune
from kinoflow.config import Run
from kinoflow.system.errors import UserError
from kinoflow.training.fit import TrainingData

_RISING = 0.6  # of the steps; in the others, the weights that are left make up for the loss


def sparse(
    original: Bundle,
    run: Run,
    data: TrainingData,
    sparsity: float,
    settings: FineTune,
    folder: Path,
) -> Bundle:
    """Set a share of a bundle's weights to 0, and write the network as another bundle.

    Args:
        original: the bundle; it is left as it is, and teaches.
        run: the settings that it was trained with.
        data: what it was trained on.
        sparsity: share of the kernels' weights that are 0 in the end, above 0 and below 1. Biases
            and normalisation keep theirs, which are few.
        settings: of the fine-tuning.
        folder: the new bundle's; a bundle that is already there is replaced.

    Raises UserError for a network without kernels, and fine-tuning that diverges.
    """
    rewrite.begin(run)
    network = rewrite.copied(original.model)
    rewrite.thaw(network)
    if not kernels(network):
        raise UserError(f"{original.description.name} has no kernels whose weights could be 0")
    fine_tune(network, original, run, data, settings, [Sparsify(sparsity)])
    return rewrite.write(folder, network, original, data)


class Sparsify(keras.callbacks.Callback):
    """Zeroes more and more of the smallest weights, and holds them there to the end.

    Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model
    compression" (2017): the share of zeros rises as a cubic, fast at first, when many weights can
    be spared. Weights of all kernels compete by the score of Lee et al., "Layer-Adaptive Sparsity
    for the Magnitude-based Pruning" (ICLR 2021): a weight's square, divided by the sum of those in
    its kernel that are not smaller. So no kernel loses all of its weights.

    Args:
        sparsity: the share of the kernels' weights that are 0 in the end.
    """

    def __init__(self, sparsity: float) -> None:
        super().__init__()
        self.sparsity = sparsity

    def on_train_begin(self, logs: Any = None) -> None:
        self.kernels = kernels(self.model)
        self.masks = [np.ones(kernel.shape, bool) for kernel in self.kernels]
        self.step = 0
        self.steps = max(1, int(_RISING * self.params["epochs"] * self.params["steps"]))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step += 1
        if self.step <= self.steps:
            left = 1 - self.step / self.steps
            self._choose(self.sparsity * (1 - left**3))
        for kernel, mask in zip(self.kernels, self.masks, strict=True):
            kernel.assign(ops.convert_to_numpy(kernel) * mask)

    def _choose(self, share: float) -> None:
        """The masks of the weights that are left when a share is gone; none of them comes back."""
        scores = [
            scored(ops.convert_to_numpy(kernel) * mask)
            for kernel, mask in zip(self.kernels, self.masks, strict=True)
        ]
        everyone = np.concatenate([score.ravel() for score in scores])
        count = round(share * len(everyone))
        if count:
            limit = np.partition(everyone, count - 1)[count - 1]
            self.masks = [
                mask & (score > limit) for score, mask in zip(scores, self.masks, strict=True)
            ]


def scored(kernel: NDArray[np.float32]) -> NDArray[np.float64]:
    """The score of each weight of a kernel; see `Sparsify`."""
    squares = np.square(kernel.ravel().astype(np.float64))
    order = np.argsort(squares, kind="stable")
    not_smaller = np.cumsum(squares[order][::-1])[::-1]
    scores = np.empty_like(squares)
    scores[order] = squares[order] / np.maximum(not_smaller, np.finfo(float).tiny)
    return scores.reshape(kernel.shape)


def kernels(model: keras.Model) -> list[keras.Variable]:
    """The weights that may become 0: those that inputs or states are multiplied by."""
    return [weight for weight in model.weights if weight.name.endswith("kernel")]


def compressed_bytes(path: Path) -> int:
    """What a file takes once DEFLATE has compressed it, as zip and HTTP do."""
    return len(zlib.compress(path.read_bytes(), 9))
