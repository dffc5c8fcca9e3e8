"""The model, a SavedModel as Keras exports it, run by TensorFlow."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def load(model: Path, threads: int = 0, calls: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """A function from clips, uint8 (B, T, H, W, 3), to probabilities, float32 (B, classes).

    Args:
        model: the folder of the SavedModel, for batches of B.
        threads: how many may compute, if TensorFlow has not computed before; 0: it decides.
        calls: how many threads call the function at a time, and share those that compute.
    """
    import tensorflow

    if threads:
        each = max(1, threads // calls)
        tensorflow.config.threading.set_intra_op_parallelism_threads(each)
        tensorflow.config.threading.set_inter_op_parallelism_threads(each)
    loaded = tensorflow.saved_model.load(str(model))
    return lambda clips: np.asarray(loaded.serve(clips))
