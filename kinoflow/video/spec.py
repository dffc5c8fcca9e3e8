"""`ClipSpec`: the form of clips that sampling, the clip store, training and serving share."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Sampling = Literal["uniform", "segment", "motion"]
Padding = Literal["repeat", "mask"]


@dataclass(frozen=True)
class ClipSpec:
    """The size of a clip, and how it is sampled from a video.

    Args:
        frames: how many frames.
        height: of each frame, in pixels.
        width: of each frame, in pixels.
        sampling: which frames of a video are taken (see `kinoflow.video.sampling`).
        padding: how the clip of a video with too few frames ends: `repeat` repeats the video's
            last frame, `mask` adds black frames (see `kinoflow.video.padding`).

    Raises ValueError for a size below 1 and for a mode that does not exist.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    frames: int
    height: int
    width: int
    sampling: Sampling = "uniform"
    padding: Padding = "repeat"

    def __post_init__(self) -> None:
        for name in ("frames", "height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, known in (("sampling", get_args(Sampling)), ("padding", get_args(Padding))):
            if getattr(self, name) not in known:
                raise ValueError(f"no {name} {getattr(self, name)!r}; there are {', '.join(known)}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, H, W, 3)"""
        return (self.frames, self.height, self.width, 3)
