"""The model, run by OpenVINO on the processor."""

import functools
import gzip
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


@functools.cache
def core() -> Any:
    """OpenVINO's core, one for the whole process.

    On processors with AMX, OpenVINO 2026.4 gives the thread that makes a core a stack for signals.
    When two cores end in the order in which they began, that thread is left with a stack that is
    gone, and the next signal that Python handles, Ctrl-C among them, is a crash.
    """
    # OpenVINO tells its makers of every import, unless it cannot find this module
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    made = openvino.Core()
    made.get_versions("CPU")  # it is then that the stack is made
    return made


def load(model: Path, threads: int = 0, calls: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """A function from clips, uint8 (B, T, H, W, 3), to probabilities, float32 (B, classes).

    Args:
        model: the graph, for batches of B, .xml or, compressed, .xml.gz; the weights lie beside it
            in a .bin.
        threads: how many may compute; 0: as many as the processor has cores.
        calls: how many threads call the function at a time, and share those that compute.
    """
    # else it computes in bfloat16 or float16 wherever the processor can, and answers differ
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    if calls > 1:
        settings["NUM_STREAMS"] = calls
    if model.suffix == ".gz":
        weights = model.with_suffix("").with_suffix(".bin").read_bytes()
        graph = core().read_model(gzip.decompress(model.read_bytes()), weights)
    else:
        graph = core().read_model(model)
    network = core().compile_model(graph, "CPU", settings)
    own = threading.local()

    def run(clips: np.ndarray) -> np.ndarray:
        # a request holds the clips and the answer, so no two threads may share one
        if not hasattr(own, "request"):
            own.request = network.create_infer_request()
        return np.array(own.request.infer(clips)[0])

    return run
