"""The model, run by OpenVINO on the processor."""

import gzip
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def load(model: Path, threads: int = 0, calls: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """A function from a clip, uint8 (1, T, H, W, 3), to probabilities, float32 (1, classes).

    Args:
        model: the graph, .xml or, compressed, .xml.gz; the weights lie beside it in a .bin.
        threads: how many may compute; 0: as many as the processor has cores.
        calls: how many threads call the function at a time, and share those that compute.
    """
    # OpenVINO tells its makers of every import, unless it cannot find this module
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    # else it computes in bfloat16 or float16 wherever the processor can, and answers differ
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    if calls > 1:
        settings["NUM_STREAMS"] = calls
    core = openvino.Core()
    if model.suffix == ".gz":
        weights = model.with_suffix("").with_suffix(".bin").read_bytes()
        graph = core.read_model(gzip.decompress(model.read_bytes()), weights)
    else:
        graph = core.read_model(model)
    network = core.compile_model(graph, "CPU", settings)
    own = threading.local()

    def run(clip: np.ndarray) -> np.ndarray:
        # a request holds the clip and the answer, so no two threads may share one
        if not hasattr(own, "request"):
            own.request = network.create_infer_request()
        return np.array(own.request.infer(clip)[0])

    return run
