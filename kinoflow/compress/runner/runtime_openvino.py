"""The model, run by OpenVINO on the processor."""

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def load(model: Path, threads: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """A function from a clip, uint8 (1, T, H, W, 3), to probabilities, float32 (1, classes).

    Args:
        model: the graph, .xml or, compressed, .xml.gz; the weights lie beside it in a .bin.
        threads: how many may compute; 0: as many as the processor has cores.
    """
    # OpenVINO tells its makers of every import, unless it cannot find this module
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    # else it computes in bfloat16 or float16 wherever the processor can, and answers differ
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    core = openvino.Core()
    if model.suffix == ".gz":
        weights = model.with_suffix("").with_suffix(".bin").read_bytes()
        graph = core.read_model(gzip.decompress(model.read_bytes()), weights)
    else:
        graph = core.read_model(model)
    network = core.compile_model(graph, "CPU", settings)
    return lambda clip: np.array(network(clip)[0])
