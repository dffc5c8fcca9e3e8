"""Reading videos: what a clip is, which frames make it, and the decoder that gives them.

The decoder is imported when one of its names is first used, so that whoever needs no more than
`ClipSpec` starts without PyAV and OpenCV. The packages of this repository import from the modules
themselves: what they depend on is read off their imports (see `kinoflow.system.imports`).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kinoflow.video.spec import ClipSpec, Frames

if TYPE_CHECKING:
    from kinoflow.video.decoder import VideoInfo, decoder_version, probe, runs, sample
    from kinoflow.video.frames import UnreadableVideo
    from kinoflow.video.live import stream
    from kinoflow.video.sampling import frame_indices

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
    **dict.fromkeys(("VideoInfo", "decoder_version", "probe", "runs", "sample"), "decoder"),
    "UnreadableVideo": "frames",
    "stream": "live",
    "frame_indices": "sampling",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
