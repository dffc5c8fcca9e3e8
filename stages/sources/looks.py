"""The embedded films in other looks: the same hidden world photographed, drawn, or filmed at night.

A frame can be drawn in every look. So it is known what a translation from one look to another
should give, which no two sets of real footage tell.
"""

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from kinoflow.video.spec import Frames
from stages.sources.synthetic import Exposure, SyntheticVideo, exposures, photograph

Look = Callable[[Exposure], Frames]

_PAPER = np.array([250, 245, 233], np.float32)
_GRAPHITE = np.array([52, 52, 60], np.float32)
_MOONLIGHT = np.array([0.55, 0.75, 1.15], np.float32)
_LAMPLIGHT = np.array([1.25, 1.0, 0.6], np.float32)


def plain(exposure: Exposure) -> Frames:
    """As the embedded data have it."""
    return photograph(exposure)


def pencil(exposure: Exposure) -> Frames:
    """A pencil drawing: dark lines where colours meet, and the darker a colour, the denser a tone.

    Neither light nor grain of the camera shows in it.
    """
    world = exposure.world.astype(np.float32)
    height = len(world)
    # lines about as thick as a hair of the figure, however large the frame
    smooth = cv2.GaussianBlur(world, (0, 0), height / 130)
    along, down = (cv2.Sobel(smooth, cv2.CV_32F, x, 1 - x) for x in (1, 0))
    slope = np.sqrt(np.square(along) + np.square(down)).max(axis=-1) * (height / 120)
    line = np.clip((slope - 40) / 150, 0, 1)
    dark = 1 - _grey(world) / 255
    tone = 0.42 * np.square(dark)
    graphite = np.maximum(0.95 * line, tone)[..., None]
    return _bytes(_PAPER * (1 - graphite) + _GRAPHITE * graphite)


def night(exposure: Exposure) -> Frames:
    """The place by moonlight and one lamp, which hangs in the middle: dark, blue and grainy."""
    lit = exposure.world.astype(np.float32) * exposure.light
    grey = _grey(lit)[..., None]
    height, width = grey.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    away = np.hypot(x - width / 2, y - height * 0.15) / height
    lamp = (0.75 * np.exp(-np.square(away / 0.45)))[..., None]
    # eyes and cameras see little colour in the dark
    moonlit = (0.35 * lit + 0.65 * grey) * _MOONLIGHT * 0.3
    return _bytes(moonlit + lit * _LAMPLIGHT * lamp + 2 * exposure.grain)


LOOKS: dict[str, Look] = {"plain": plain, "pencil": pencil, "night": night}


def render(video: SyntheticVideo, looks: Iterable[str]) -> dict[str, Frames]:
    """A video in several looks, all of the same world: uint8 RGB (T, H, W, 3) by the look's name.

    Raises KeyError for a look that does not exist.
    """
    draw = {name: LOOKS[name] for name in looks}
    drawn: dict[str, list[Frames]] = {name: [] for name in draw}
    for exposure in exposures(video):
        for name, look in draw.items():
            drawn[name].append(look(exposure))
    return {name: np.stack(frames) for name, frames in drawn.items()}


def films(
    videos: Iterable[SyntheticVideo], looks: Iterable[str]
) -> Iterator[tuple[SyntheticVideo, dict[str, Frames]]]:
    """Each video with what `render` makes of it."""
    names = list(looks)
    for video in videos:
        yield video, render(video, names)


def _grey(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def _bytes(colours: NDArray[np.float32]) -> Frames:
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)
