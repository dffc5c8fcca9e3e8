"""The model, run by LiteRT on the processor."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np


def load(model: Path, threads: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """A function from a clip, uint8 (1, T, H, W, 3), to probabilities, float32 (1, classes).

    Args:
        model: the file.
        threads: how many may compute; 0: as many as the processor has cores.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=threads or os.cpu_count())
    interpreter.allocate_tensors()
    (clips,), (answers,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(clip: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(clips["index"], clip)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(answers["index"]))

    return run
