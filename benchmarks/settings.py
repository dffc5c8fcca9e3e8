"""Environment variables that make this machine compute as others do: processors, thread counts.

oneDNN, OpenBLAS, NumPy and OpenCV choose kernels by the processor's instruction sets, and can be
told to use those of an older processor. Kernels that were compiled into TensorFlow for one
instruction set, above all Eigen's, stay the same.
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


# the environment variables of each setting, by name; settings have one thread unless they say two
SETTINGS: dict[str, dict[str, str]] = {
    "as it is": _threads(1),
    "2 threads": _threads(2),
    "AVX2": _AVX2 | _threads(1),
    "AVX2, 2 threads": _AVX2 | _threads(2),
    "SSE4.1": _SSE | _threads(1),
    "without oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"} | _threads(1),
}


def environment(setting: str) -> dict[str, str]:
    """This process's environment with the variables of a setting."""
    return {**os.environ, **SETTINGS[setting]}
