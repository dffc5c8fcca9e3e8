"""The model, run by LiteRT on the processor."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np


def load(model: Path, threads: int = 0, calls: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """A function from clips, uint8 (B, T, H, W, 3), to probabilities, float32 (B, classes).

    Args:
        model: the file, for batches of B.
        threads: how many may compute; 0: as many as the processor has cores.
        calls: how many threads call the function at a time, and share those that compute.
    """
    from ai_edge_litert.interpreter import Interpreter

    each = max(1, (threads or os.cpu_count() or 1) // calls)
    own = threading.local()

    def run(clips: np.ndarray) -> np.ndarray:
        # an interpreter holds the clips and the answer, so no two threads may share one
        if not hasattr(own, "interpreter"):
            own.interpreter = Interpreter(model_path=str(model), num_threads=each)
            own.interpreter.allocate_tensors()
        (taken,) = own.interpreter.get_input_details()
        (answers,) = own.interpreter.get_output_details()
        own.interpreter.set_tensor(taken["index"], clips)
        own.interpreter.invoke()
        return np.array(own.interpreter.get_tensor(answers["index"]))

    return run
