"""The model, run by ONNX Runtime on the processor."""

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
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    # callers compute themselves, and share the others
    options.intra_op_num_threads = max(1, threads - calls + 1) if threads else 0
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    return lambda clips: np.asarray(session.run(None, {taken.name: clips})[0])
