"""Where the model is computed: on a GPU, or on which cores of a CPU."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kinoflow.bundle import Bundle
from kinoflow.system.sandbox import cores
from kinoflow.system.sandbox_process import SandboxProcess

# Beyond so many cores, one call of the model computes on several: a lone request should not take
# long on a large machine only because no others come.
_CORES_PER_THREAD = 4
_CALLS_OF_FORM = 4

# By how much decoders and the model give way to the thread that takes requests, so that what is too
# much is refused at once while all cores are busy. As for os.nice; 5 is a third of the share.
_GIVING_WAY = 5

Made = TypeVar("Made")

_GPUS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))  # of NVIDIA's and AMD's drivers


@dataclass(frozen=True)
class Processors:
    """How the model is called."""

    device: str  # as Keras names it: gpu:0, cpu:0
    lanes: int  # calls at a time


def prepare(*, batching: bool) -> None:
    """Have TensorFlow compute each call of a model on few cores, if there is no GPU.

    Then several calls run side by side. Without batching, one call after the other uses all cores.
    Must be called before TensorFlow is imported.
    """
    # TensorFlow would otherwise take all memory of a GPU that others may be using too
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if batching and not any(path.exists() for path in _GPUS):
        threads = max(1, cores() // _CORES_PER_THREAD)
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))


def behind(make: Callable[[], Made]) -> Made:
    """What `make` returns, made in a thread that gives way, as all do that it and they start.

    Decoders that are started from now on give way as well.
    """
    SandboxProcess.niceness = _GIVING_WAY
    with ThreadPoolExecutor(1, initializer=_give_way) as thread:
        return thread.submit(make).result()


def _give_way() -> None:
    # elsewhere it would be the whole process that gives way
    if sys.platform == "linux":
        os.nice(_GIVING_WAY)


@dataclass(frozen=True)
class Share:
    """How the calls of a form share the cores."""

    threads: int  # that compute, together
    calls: int  # at a time


def share(*, batching: bool) -> Share:
    """Up to four calls at a time, which together compute on all cores; one without batching."""
    return Share(cores(), min(cores(), _CALLS_OF_FORM) if batching else 1)


def find(model: Bundle, *, batching: bool) -> Processors:
    """What there is for a bundle or a form.

    Only TensorFlow promises that two threads may call one compiled model. The runtime of a form is
    asked by each thread in a way of its own.
    """
    if not model.is_network:
        return Processors("cpu:0", share(batching=batching).calls)
    import keras

    device = keras.distribution.list_devices()[0]
    on_cores = keras.backend.backend() == "tensorflow" and device.startswith("cpu")
    return Processors(device, cores() if on_cores and batching else 1)
