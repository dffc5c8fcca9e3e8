"""Processors and thread counts, as far as one machine can stand for others.

oneDNN, OpenBLAS, NumPy and OpenCV choose kernels by what the processor has, and can be told to
take those of a lesser one. What TensorFlow compiles for one instruction set, above all Eigen's
kernels, stays as it is.
"""

import os

_AVX2 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENCV_CPU_DISABLE": "AVX512-SKX",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL",
}
_SSE = {
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
    "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,FP16,AVX",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL X86_V3",
}


def _threads(count: int) -> dict[str, str]:
    return {"TF_NUM_INTRAOP_THREADS": str(count), "OMP_NUM_THREADS": str(count)}


# by name, the environment variables of each setting; one thread unless it says two
SETTINGS: dict[str, dict[str, str]] = {
    "as it is": _threads(1),
    "2 threads": _threads(2),
    "AVX2": _AVX2 | _threads(1),
    "AVX2, 2 threads": _AVX2 | _threads(2),
    "SSE4.1": _SSE | _threads(1),
    "without oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"} | _threads(1),
}


def environment(setting: str) -> dict[str, str]:
    """This process's environment as it is under `setting`."""
    return {**os.environ, **SETTINGS[setting]}
