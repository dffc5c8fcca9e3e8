"""Reading videos: what a clip is, which frames it is made of, and the decoder.

The decoder is imported when one of its names is first used, so that code which needs only
`ClipSpec` starts without PyAV and OpenCV. Code of this repository imports from the modules
themselves, because what a stage depends on is read from its imports (`kinoflow.system.imports`).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kinoflow.video.spec import ClipSpec, Frames

if TYPE_CHECKING:
    from kinoflow.video.decoder import VideoInfo, probe, runs, sample
    from kinoflow.video.frames import UnreadableVideo
    from kinoflow.video.live import stream
    from kinoflow.video.sampling import frame_indices
    from kinoflow.video.version import decoder_version

__all__ = [
    "ClipSpec",
    "Frames",
    "UnreadableVideo",
    "VideoInfo",
    "decoder_version",
    "frame_indices",
    "probe",
    "runs",
    "sample",
    "stream",
]

_MODULES = {
    **dict.fromkeys(("VideoInfo", "probe", "runs", "sample"), "decoder"),
    "UnreadableVideo": "frames",
    "stream": "live",
    "frame_indices": "sampling",
    "decoder_version": "version",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
