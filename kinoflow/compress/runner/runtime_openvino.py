"""The model, run by OpenVINO on the processor."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def load(model: Path, threads: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """A function from a clip, uint8 (1, T, H, W, 3), to probabilities, float32 (1, classes).

    Args:
        model: the file; its weights lie beside it.
        threads: how many may compute; 0: as many as the processor has cores.
    """
    # OpenVINO tells its makers of every import, unless it cannot find this module
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    # else it computes in bfloat16 or float16 wherever the processor can, and answers differ
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    network = openvino.Core().compile_model(model, "CPU", settings)
    return lambda clip: np.array(network(clip)[0])
