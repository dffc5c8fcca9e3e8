"""How much the picture moves: the optical flow between frames of a video."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from kinoflow.data import scratch
from kinoflow.data.exploration import pair_starts
from kinoflow.video.decoder import runs
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.sampling import frame_indices
from kinoflow.video.spec import ClipSpec, Frames

_SHOWN = 5  # how many frames of a video the page shows, at most


@dataclass(frozen=True)
class Kept:
    """Pairs of frames that the catalog's pass over a video kept."""

    md5: str  # of the video
    entry: Path  # the file that holds them


@dataclass(frozen=True)
class Video:
    """A video whose optical flow is to be measured."""

    name: str
    path: Path
    frames: int  # how many it has
    fps: float  # frames per second; 0 if unknown
    pair: ClipSpec  # two frames, scaled down to this size with the video's aspect ratio
    pairs: int  # how many pairs to measure
    shown: bool  # whether the page shows its frames
    kept: Kept | None = None


@dataclass(frozen=True)
class VideoFlow:
    """The mean length of a video's optical flow, in percent of the frame's width per second.

    Both numbers are NaN for a video with one frame, without a frame rate, or that no longer
    decodes.
    """

    video: str
    total: float
    residual: float  # without the median flow of each pair of frames, which is mostly the camera's
    frames: tuple[Frames, ...]  # some of the frames, where the page shows them


def measure(video: Video) -> VideoFlow:
    """Optical flow (Farneback, 2003) between consecutive frames, at a few places of a video."""
    cv2.setNumThreads(1)  # there is a process for every core already
    lengths, frames = [], []
    try:
        for pair in _pairs(video):
            lengths.append(_flow_lengths(pair))
            frames.append(pair[0])
    except UnreadableVideo:
        pass  # the pairs before the damage are measured
    unit = 100 * video.fps / video.pair.width  # from pixels per frame to percent per second
    known = bool(lengths and video.fps)
    total, residual = np.mean(lengths, axis=0) * unit if known else (np.nan, np.nan)
    shown: list[Frames] = []
    if video.shown and frames:
        shown = [frames[index] for index in frame_indices(len(frames), min(_SHOWN, len(frames)))]
    return VideoFlow(video.name, float(total), float(residual), tuple(shown))


def unmeasured(video: Video, problem: str) -> VideoFlow:
    """The result for a video that took too much time or memory to measure."""
    return VideoFlow(video.name, np.nan, np.nan, ())


def _pairs(video: Video) -> Iterable[Frames]:
    """The pairs of frames (2, H, W, 3) to measure; they are decoded if they were not kept."""
    starts = pair_starts(video.frames, video.pairs)
    # a video that has changed since the catalog is decoded as it is now
    if video.kept and scratch.holds(video.path, video.kept.md5):
        kept = scratch.read(video.kept.entry)
        if kept is not None:
            return kept.reshape(len(starts), *video.pair.shape)
    return runs(video.path, starts, video.pair)


def _flow_lengths(pair: Frames) -> tuple[float, float]:
    """Mean length, in pixels, of the flow between two frames, and of the flow less its median."""
    before, after = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in pair)
    empty = np.empty((*before.shape, 2), np.float32)
    flow = cv2.calcOpticalFlowFarneback(before, after, empty, 0.5, 3, 15, 3, 5, 1.2, 0)
    residual = flow - np.median(flow, axis=(0, 1))
    return float(np.hypot(*flow.T).mean()), float(np.hypot(*residual.T).mean())
