"""How every pixel of a synthetic video moves, exactly, and which were visible the frame before.

The renderer draws surfaces one over another: the place, the discs that pass, and the strokes, discs
and panels of the figure and what it handles. Here the same calls are recorded in place of drawn.
Then each pixel belongs to the surface on top, and moves as that surface does.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from kinoflow.style.flow import Motion
from stages.sources import synthetic
from stages.sources.figure import Appearance, Brush, Colour, Point
from stages.sources.synthetic import CLASSES, SyntheticVideo

Places = NDArray[np.float64]  # x and y in pixels, (..., 2)


@dataclass(frozen=True)
class _Surface:
    """Something drawn: a disc (one point), a stroke (two) or a panel (four).

    Args:
        points: in pixels, (N, 2).
        reach: how far around its points it is filled, in pixels; 0.5, the rim, for a panel.
    """

    points: Places
    reach: float

    def distances(self, places: Places) -> NDArray[np.float64]:
        """How far places (H, W, 2) are outside, (H, W); negative inside."""
        if len(self.points) == 4:  # a convex one
            sides = np.roll(self.points, -1, axis=0) - self.points
            outwards = np.stack([sides[:, 1], -sides[:, 0]], axis=-1)
            outwards /= np.linalg.norm(outwards, axis=-1, keepdims=True)
            outwards *= np.sign(
                np.sum(outwards * (self.points - self.points.mean(axis=0)), axis=-1)
            )[:, None]
            beyond = places[..., None, :] - self.points
            return np.asarray(np.sum(beyond * outwards, axis=-1).max(axis=-1)) - self.reach
        start, along = self.points[0], self.points[-1] - self.points[0]
        share = np.clip((places - start) @ along / max(float(along @ along), 1e-9), 0, 1)
        nearest = start + share[..., None] * along
        return np.asarray(np.linalg.norm(places - nearest, axis=-1)) - self.reach

    def moved(self, places: Places, to: "_Surface") -> Places:
        """Where places (N, 2) of this surface are when it has become `to`.

        A stroke keeps its thickness when it gets longer; a panel is a plane, seen by a camera.
        """
        if len(self.points) == 4:
            plane = cv2.getPerspectiveTransform(
                self.points.astype(np.float32), to.points.astype(np.float32)
            )
            moved = cv2.perspectiveTransform(places[None].astype(np.float64), plane)
            return np.asarray(moved, dtype=np.float64)[0]
        before, after = self.points[-1] - self.points[0], to.points[-1] - to.points[0]
        length, longer = float(np.hypot(*before)), float(np.hypot(*after))
        if length < 1e-6 or longer < 1e-6:
            return np.asarray(places - self.points[0] + to.points[0])
        forward, ahead = before / length, after / longer
        offset = places - self.points[0]
        along = offset @ forward
        across = offset @ np.array([-forward[1], forward[0]])
        # the round ends beyond both points keep their shape
        inner = np.clip(along, 0, length)
        along = along - inner + inner * longer / length
        return np.asarray(
            to.points[0]
            + along[:, None] * ahead
            + across[:, None] * np.array([-ahead[1], ahead[0]])
        )


@dataclass(frozen=True)
class _Recorder(Brush):
    """A brush that keeps what it would draw."""

    drawn: list[_Surface] = field(default_factory=list)

    def _at(self, *points: Point) -> Places:
        x, y = np.array(points, np.float64).T
        return np.stack(
            [self.origin + self.facing * x * self.unit, self.ground - y * self.unit], axis=-1
        )

    def limb(self, colour: Colour, thickness: float, *points: Point) -> None:
        path = self._at(*points)
        reach = max(2, round(thickness * self.unit)) / 2
        self.drawn.extend(_Surface(np.stack(ends), reach) for ends in pairwise(path))

    def disc(self, colour: Colour, centre: Point, radius: float) -> None:
        self.drawn.append(_Surface(self._at(centre), radius * self.unit))

    def panel(self, colour: Colour, *corners: Point) -> None:
        self.drawn.append(_Surface(self._at(*corners), 0.5))


def motions(video: SyntheticVideo) -> list[Motion]:
    """How the pixels of each frame but the first moved from the frame before.

    Returns a motion for each of the T - 1 pairs of frames that `synthetic.render` draws. A pixel
    counts as visible in the frame before if all four pixels around the place where it was show the
    same surface. Pixels on the edge of two surfaces show a mixture of both, which moves like
    neither, so they do not count. What light does to colours is no motion.
    """
    scene = synthetic.scene_of(video)
    offset, start = video.width * 0.25 + scene.rng.uniform(-8, 8), scene.rng.uniform(0, 100)
    _, draw, _ = CLASSES[video.label]
    grid = np.meshgrid(np.arange(video.width), np.arange(video.height))
    places = np.stack(grid, axis=-1).astype(np.float64)
    nothing = np.zeros((1, 1, 3), np.uint8)

    found = []
    before: tuple[list[_Surface], NDArray[np.int64]] | None = None
    for number, phase in enumerate(synthetic.phases(video)):
        time = number + start * 0.1
        brush = scene.brush(nothing, synthetic.sway(number, start))
        recorder = _Recorder(brush.canvas, brush.ground, brush.origin, brush.unit, brush.facing)
        draw(recorder, scene.appearance, float(phase))
        surfaces = _passers(scene.appearance, time, video.height) + recorder.drawn
        top = _on_top(surfaces, places)
        if before is not None:
            found.append(_motion(surfaces, top, *before, places, scene.appearance, offset, time))
        before = surfaces, top
    return found


def _passers(appearance: Appearance, time: float, height: int) -> list[_Surface]:
    """The discs that move through the scene, as `figure.backdrop` draws them."""
    return [
        _Surface(
            np.array([[((x + dx * time) % 1.5) * height, (y + dy * time) * height]]),
            radius * height,
        )
        for x, y, dx, dy, radius, _, _ in appearance.passers
    ]


def _on_top(surfaces: list[_Surface], places: Places) -> NDArray[np.int64]:
    """The index of the surface that each pixel shows, (H, W); -1 is the place."""
    height, width = places.shape[:2]
    top = np.full((height, width), -1)
    for index, surface in enumerate(surfaces):
        low = np.floor(surface.points.min(axis=0) - surface.reach).astype(int)
        high = np.ceil(surface.points.max(axis=0) + surface.reach).astype(int) + 1
        rows = slice(max(low[1], 0), max(min(high[1], height), 0))
        columns = slice(max(low[0], 0), max(min(high[0], width), 0))
        inside = surface.distances(places[rows, columns]) <= 0
        top[rows, columns][inside] = index
    return top


def _motion(
    surfaces: list[_Surface],
    top: NDArray[np.int64],
    earlier: list[_Surface],
    top_before: NDArray[np.int64],
    places: Places,
    appearance: Appearance,
    offset: float,
    time: float,
) -> Motion:
    height, width = top.shape
    was = places + np.array([appearance.pan, 0.0])
    for index in np.unique(top[top >= 0]):
        shown = top == index
        was[shown] = surfaces[index].moved(places[shown], earlier[index])
    visible, unmixed = _unmixed(top), _unmixed(top_before)
    low = np.floor(was).astype(int)
    for corner in ((0, 0), (1, 0), (0, 1), (1, 1)):
        # a place exactly on a pixel needs no neighbour
        at = np.where(was == low, low, low + corner)
        inside = (at >= 0).all(axis=-1) & (at < (width, height)).all(axis=-1)
        x, y = np.clip(at, 0, (width - 1, height - 1)).transpose(2, 0, 1)
        visible &= inside & unmixed[y, x] & (top_before[y, x] == top)
    # beyond its edge the place is mirrored, and a mirror image moves the other way
    seen = places[..., 0] + offset + appearance.pan * time
    visible &= (top >= 0) | ((seen >= 0) & (seen <= appearance.place.shape[1] - 1))
    return Motion((was - places).astype(np.float32), visible.astype(np.float32))


def _unmixed(top: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which pixels (H, W) show the same surface as the pixels beside, above and below them."""
    around = np.pad(top, 1, mode="edge")
    beside = (around[1:-1, :-2], around[1:-1, 2:], around[:-2, 1:-1], around[2:, 1:-1])
    return np.logical_and.reduce([each == top for each in beside])
