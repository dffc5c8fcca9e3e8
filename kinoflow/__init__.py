"""kinoflow: from a folder of labelled videos to a served action-recognition model.

The names below are the public ones. Each module is imported when one of its names is first used,
so `import kinoflow` is quick and loads neither Keras nor a decoder. The code of this repository
imports from the modules themselves, because what a stage depends on is read from its imports (see
`kinoflow.system.imports`).
"""

import os
import platform
from importlib import import_module
from typing import TYPE_CHECKING, Any

# TensorFlow uses oneDNN by itself only on x86 CPUs with AVX-512 VNNI. On others its convolutions
# would take up to six times as long. It reads this when it is imported.
if platform.machine() in {"x86_64", "AMD64"}:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

if TYPE_CHECKING:
    from kinoflow.bundle import Bundle, load
    from kinoflow.models import MODELS
    from kinoflow.system.errors import UserError
    from kinoflow.video.decoder import VideoInfo, probe, sample
    from kinoflow.video.frames import UnreadableVideo
    from kinoflow.video.spec import ClipSpec
    from kinoflow.workspace import Workspace

    __version__: str

__all__ = [
    "MODELS",
    "Bundle",
    "ClipSpec",
    "UnreadableVideo",
    "UserError",
    "VideoInfo",
    "Workspace",
    "__version__",
    "load",
    "probe",
    "sample",
]

_MODULES = {
    "Bundle": "bundle",
    "load": "bundle",
    "MODELS": "models",
    "UserError": "system.errors",
    "VideoInfo": "video.decoder",
    "probe": "video.decoder",
    "sample": "video.decoder",
    "UnreadableVideo": "video.frames",
    "ClipSpec": "video.spec",
    "Workspace": "workspace",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("kinoflow")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
