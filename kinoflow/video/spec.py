"""What a clip is: the agreement between sampling, storing, training and serving."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Sampling = Literal["uniform", "segment", "motion"]
Padding = Literal["repeat", "mask"]


@dataclass(frozen=True)
class ClipSpec:
    """What a clip is: how many frames, their size in pixels, and how they are chosen."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    frames: int
    height: int
    width: int
    sampling: Sampling = "uniform"  # which frames of a video: see kinoflow/video/sampling.py
    padding: Padding = (
        "repeat"  # what a video with too few is filled up with: see `kinoflow.video.sample`
    )

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
