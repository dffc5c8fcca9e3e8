"""Draw an explanation: a film of the clip beside its evidence, and a strip of both.

No text is drawn, since a label may be in any script and OpenCV's letters are ASCII; whoever shows
the film writes beside it what it shows.
"""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from kinoflow.explain import footage
from kinoflow.explain.methods import Explanation
from kinoflow.explain.shapley import segment_of
from kinoflow.system import files
from kinoflow.video import h264
from kinoflow.video.decoder import sample
from kinoflow.video.spec import ClipSpec, Frames

Colour = tuple[int, int, int]

# of Okabe and Ito, which people with any colour vision tell apart, on a dark ground
_FOR: Colour = (230, 159, 0)
_AGAINST: Colour = (86, 180, 233)
_GROUND: Colour = (24, 24, 27)
_LINE: Colour = (130, 130, 136)
_NOW: Colour = (250, 250, 250)

_BAR = 36  # pixels: the height of the bars of segments
_GAP = 4  # pixels between parts
_SLOWEST, _FASTEST = 4.0, 25.0  # frames per second


def readable(path: Path, spec: ClipSpec, *, width: int, height: int) -> Frames:
    """The frames of a video's clip as people watch them: uint8 RGB (T, H, W, 3).

    H is at most 180 and W at most 640, and the aspect ratio is the video's.

    Args:
        path: the video.
        spec: which frames the clip has; their size does not matter.
        width: of the video, in pixels.
        height: of the video, in pixels.

    Raises UnreadableVideo as the decoder does.
    """
    return sample(path, footage.readable(spec, width, height))


def rate(frames: int, seconds: float) -> Fraction:
    """Frames per second at which a clip takes as long as its video, but between 4 and 25.

    Args:
        frames: of the clip.
        seconds: of the video; 0 where that is not known.
    """
    fps = min(max(frames / seconds, _SLOWEST), _FASTEST) if seconds else _FASTEST
    return Fraction(round(fps * 100), 100)


def normalised(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps scaled to 0 to 1 for drawing: 1 is the value that one pixel in two hundred exceeds."""
    top = float(np.percentile(maps, 99.5)) or float(maps.max())
    return np.clip(maps / top, 0, 1) if top > 0 else np.zeros_like(maps)


def overlay(frames: Frames, maps: NDArray[np.float32]) -> Frames:
    """Frames in grey with the evidence in colour over them.

    The colours are those of cividis, whose order of lightness holds for people with any colour
    vision: from blue for little evidence to yellow for much.

    Args:
        frames: uint8 RGB (T, H, W, 3).
        maps: float32 (T, h, w), 0 to 1.
    """
    height, width = frames.shape[1:3]
    drawn = []
    for frame, evidence in zip(frames, maps, strict=True):
        large = np.clip(cv2.resize(evidence, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
        grey = np.repeat(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        levels = np.rint(large * 255).astype(np.uint8)
        colour = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB)
        share = (0.15 + 0.6 * large)[..., None]
        drawn.append(np.rint(grey * (1 - share) + colour * share))
    return np.stack(drawn).astype(np.uint8)


def bars(values: NDArray[np.float64], width: int, now: float | None = None) -> Frames:
    """The Shapley values of segments of time as bars, uint8 RGB (36, width, 3).

    Bars up speak for the class, bars down against it. The largest reaches the edge.

    Args:
        values: (segments,).
        width: in pixels.
        now: where the film is, 0 to 1; None: no mark.
    """
    picture = np.full((_BAR, width, 3), _GROUND, np.uint8)
    middle = _BAR // 2
    largest = float(np.abs(values).max()) or 1.0
    edges = np.rint(np.linspace(0, width, len(values) + 1)).astype(int)
    for value, left, right in zip(values, edges[:-1], edges[1:], strict=True):
        reach = round(abs(float(value)) / largest * (middle - 2))
        top, bottom = (middle - reach, middle) if value > 0 else (middle, middle + reach)
        picture[top:bottom, left + 1 : right - 1] = _FOR if value > 0 else _AGAINST
    picture[middle] = _LINE
    if now is not None:
        place = min(int(now * width), width - 2)
        picture[:, place : place + 2] = _NOW
    return picture


def film(frames: Frames, explanation: Explanation) -> Frames:
    """The clip, beside it the evidence, and below both the bars of segments of time.

    Args:
        frames: uint8 RGB (T, H, W, 3), the frames of the clip, at any size.
        explanation: of that clip.

    Returns uint8 RGB (T, H', W', 3) with even H' and W', as H.264 wants them.
    """
    beside = overlay(frames, normalised(explanation.maps))
    count, height, width = frames.shape[:3]
    gap = np.full((count, height, _GAP, 3), _GROUND, np.uint8)
    both = np.concatenate([frames, gap, beside], axis=2)
    below = np.stack(
        [bars(explanation.segments, 2 * width + _GAP, (t + 0.5) / count) for t in range(count)]
    )
    gap = np.full((count, _GAP, 2 * width + _GAP, 3), _GROUND, np.uint8)
    return _even(np.concatenate([both, gap, below], axis=1))


def strip(frames: Frames, explanation: Explanation) -> Frames:
    """One picture: the middle frame of each segment of time, its evidence, and the bars.

    Args:
        frames: uint8 RGB (T, H, W, 3), the frames of the clip, at any size.
        explanation: of that clip.

    Returns uint8 RGB (H', W', 3).
    """
    segments = len(explanation.segments)
    which = segment_of(len(frames), len(frames), segments)
    middles = [int(np.flatnonzero(which == k).mean()) for k in np.unique(which)]
    beside = overlay(frames, normalised(explanation.maps))
    rows = [np.concatenate(list(each[middles]), axis=1) for each in (frames, beside)]
    gap = np.full((_GAP, rows[0].shape[1], 3), _GROUND, np.uint8)
    below = bars(explanation.segments, rows[0].shape[1])
    return np.concatenate([rows[0], gap, rows[1], gap, below])


def _even(frames: Frames) -> Frames:
    """Frames with a last row and column more where their number is odd."""
    missing = [(0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)]
    return np.pad(frames, missing, mode="edge")


def write_film(path: Path, frames: Frames, fps: Fraction, *, quality: int = 26) -> None:
    """Write frames as H.264 in MP4, which browsers play; equal frames give equal bytes.

    Args:
        path: the file, whole or not at all.
        frames: uint8 RGB (T, H, W, 3), H and W even.
        fps: frames per second.
        quality: x264's constant rate factor; less is better and larger.
    """
    with h264.creating(path) as out:
        stream = h264.add_stream(out, fps, {"crf": str(quality)})
        stream.height, stream.width = frames.shape[1:3]
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())


def write_strip(path: Path, picture: Frames) -> None:
    """Write a picture, uint8 RGB (H, W, 3), as PNG, whole or not at all."""
    coded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    with files.replacing(path) as partial:
        partial.write_bytes(coded.tobytes())
