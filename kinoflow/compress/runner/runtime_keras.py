"""The model, a SavedModel as Keras exports it, run by TensorFlow."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def load(model: Path, threads: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """A function from a clip, uint8 (1, T, H, W, 3), to probabilities, float32 (1, classes).

    Args:
        model: the folder of the SavedModel.
        threads: how many may compute, if TensorFlow has not computed before; 0: it decides.
    """
    import tensorflow

    if threads:
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
    loaded = tensorflow.saved_model.load(str(model))
    return lambda clip: np.asarray(loaded.serve(clip))
