"""Drawing for the synthetic source: a scene, a jointed figure and what it handles.

Lengths are in units of the figure's height: x towards where it faces, y up from the ground. The
`Brush` turns them into pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kinoflow.video.spec import Frames

Colour = tuple[int, int, int]
Point = tuple[float, float]
# left, top, right, bottom of an upright rectangle, in pixels
Box = tuple[float, float, float, float]

# cv2 draws at sub-pixel positions given as integers with this many fractional bits
_SHIFT = 4


@dataclass(frozen=True)
class Appearance:
    """What stays the same within a recording: the actor, the place, the camera and the light.

    Colours are RGB, 0 to 255.
    """

    skin: Colour
    shirt: Colour
    trousers: Colour
    hair: Colour
    prop: Colour
    height: float  # of the figure, as a fraction of the frame's
    girth: float  # thickness of limbs, in units of the figure's height
    place: Frames  # the background, (H, W * 3 / 2, 3), wider than the frame
    pan: float  # of the camera to the right, in pixels per frame
    light: float  # factor of all colours
    flicker: float  # amplitude by which the factor `light` swings
    # discs that move through the scene, (N, 7): x and y, their change per frame, and the radius,
    # all in frame heights; grey level and tint
    passers: NDArray[np.float64]


@dataclass(frozen=True)
class Brush:
    """Draws on one frame, in the figure's units."""

    canvas: Frames
    ground: float  # pixels from the top
    origin: float  # pixels from the left
    unit: float  # pixels
    facing: int  # 1 right, -1 left

    def _pixels(self, points: list[Point]) -> NDArray[np.int32]:
        # for the few points of a stroke, arrays would take five times as long
        at = [
            (self.origin + self.facing * x * self.unit, self.ground - y * self.unit)
            for x, y in points
        ]
        scale = 1 << _SHIFT
        return np.array([(round(x * scale), round(y * scale)) for x, y in at], np.int32)

    def limb(self, colour: Colour, thickness: float, *points: Point) -> None:
        """A chain of thick strokes with round ends."""
        width = max(2, round(thickness * self.unit))
        path = self._pixels(list(points))
        cv2.polylines(self.canvas, [path], False, colour, width, cv2.LINE_AA, _SHIFT)

    def disc(self, colour: Colour, centre: Point, radius: float) -> None:
        """A filled circle."""
        ((x, y),) = self._pixels([centre]).tolist()
        r = round(radius * self.unit * (1 << _SHIFT))
        cv2.circle(self.canvas, (x, y), r, colour, -1, cv2.LINE_AA, _SHIFT)

    def panel(self, colour: Colour, *corners: Point) -> None:
        """A filled polygon with a darker rim."""
        path = self._pixels(list(corners))
        cv2.fillPoly(self.canvas, [path], colour, cv2.LINE_AA, _SHIFT)
        rim = (colour[0] // 2, colour[1] // 2, colour[2] // 2)
        cv2.polylines(self.canvas, [path], True, rim, 1, cv2.LINE_AA, _SHIFT)

    def around(self, *discs: tuple[Point, float]) -> Box:
        """The rectangle around discs, each given by its centre and radius."""
        sides = [
            (self.origin + self.facing * x * self.unit, self.ground - y * self.unit, r * self.unit)
            for (x, y), r in discs
        ]
        return (
            min(x - r for x, _, r in sides),
            min(y - r for _, y, r in sides),
            max(x + r for x, _, r in sides),
            max(y + r for _, y, r in sides),
        )


def random_appearance(rng: np.random.Generator, width: int, height: int) -> Appearance:
    """The appearance of one recording, drawn at random, for frames of this size in pixels."""
    return Appearance(
        skin=_mix((70, 45, 30), (245, 205, 175), rng.random()),
        shirt=_vivid(rng),
        trousers=_vivid(rng),
        hair=_mix((20, 15, 10), (190, 150, 90), rng.random()),
        prop=_vivid(rng),
        height=rng.uniform(0.66, 0.8),
        girth=rng.uniform(0.085, 0.11),
        place=_place(rng, width, height),
        pan=rng.uniform(-0.25, 0.25) * width / 160,
        light=rng.uniform(0.8, 1.15),
        flicker=rng.uniform(0.0, 0.06),
        passers=np.column_stack(
            [
                rng.uniform(0, 1.4, 4),
                rng.uniform(0.05, 0.55, 4),
                rng.normal(0, 0.006, 4),
                rng.normal(0, 0.003, 4),
                rng.uniform(0.03, 0.09, 4),
                rng.uniform(60, 200, 4),
                rng.uniform(-50, 50, 4),
            ]
        ),
    )


def backdrop(appearance: Appearance, time: float, offset: float, width: int, height: int) -> Frames:
    """The place as the camera sees it, with the discs that move through it: RGB (H, W, 3).

    Args:
        appearance: of the recording.
        time: frames since the start.
        offset: pixels of the place to the left of the frame at the start.
        width: of the frame, in pixels.
        height: of the frame, in pixels.
    """
    shift = np.array([[1, 0, -(offset + appearance.pan * time)], [0, 1, 0]], np.float32)
    frame = cv2.warpAffine(appearance.place, shift, (width, height), borderMode=cv2.BORDER_REFLECT)
    for x, y, dx, dy, radius, grey, tint in appearance.passers:
        at = (((x + dx * time) % 1.5) * height, (y + dy * time) * height)
        centre = (round(at[0] * (1 << _SHIFT)), round(at[1] * (1 << _SHIFT)))
        colour = (grey + tint, grey, grey - tint)
        size = round(radius * height * (1 << _SHIFT))
        cv2.circle(frame, centre, size, colour, -1, cv2.LINE_AA, _SHIFT)
    return np.asarray(frame, dtype=np.uint8)


def sit(brush: Brush, appearance: Appearance, phase: float) -> Box:
    """Standing before a chair (phase 0) to sitting on it (1); returns the actor's box."""
    brush.limb(appearance.prop, 0.05, (-0.36, 0.0), (-0.36, 0.62))
    brush.limb(appearance.prop, 0.05, (-0.36, 0.27), (-0.04, 0.27), (-0.04, 0.0))
    hip = (-0.02 - 0.16 * phase, 0.5 - 0.17 * phase)
    # the body leans forward on the way, most in the middle
    lean = 0.1 + 0.9 * phase * (1 - phase) * 1.4
    return _body(
        brush, appearance, hip, lean, feet=[(0.1, 0.0), (0.14, 0.0)], hands=[_hang(hip, lean, 0.1)]
    )


def door(brush: Brush, appearance: Appearance, phase: float) -> Box:
    """A door closed (phase 0) to wide open (1), a hand on its handle; returns the actor's box."""
    left, top, wide = 0.28, 1.05, 0.62
    angle = phase * np.pi * 0.46
    edge = left + wide - wide * np.cos(angle)  # hinged at the far side
    drop = 0.16 * np.sin(angle)  # the free edge swings towards the camera
    brush.panel((18, 18, 24), (left, 0), (left + wide, 0), (left + wide, top), (left, top))
    brush.panel(
        appearance.prop, (edge, -drop), (left + wide, 0), (left + wide, top), (edge, top + drop)
    )
    handle = (edge + 0.05, 0.5)
    hip = (handle[0] - 0.35, 0.5)
    gait = 0.12 * np.sin(phase * 2 * np.pi)
    feet = [(hip[0] - 0.06 - gait, 0.0), (hip[0] + 0.08 + gait, 0.0)]
    return _body(brush, appearance, hip, 0.12, feet=feet, hands=[handle])


def box(brush: Brush, appearance: Appearance, phase: float) -> Box:
    """A box moved forward over the ground, from behind the middle (phase 0) to before it (1).

    Returns the actor's box.
    """
    along = -0.52 + 0.9 * phase
    gait = np.sin(phase * 3 * np.pi) * 0.17
    near = along + 0.36
    brush.panel(appearance.prop, (near, 0.0), (near + 0.42, 0.0), (near + 0.42, 0.42), (near, 0.42))
    brush.limb((40, 35, 30), 0.03, (near + 0.21, 0.02), (near + 0.21, 0.4))
    hip = (along - 0.1, 0.46)
    feet = [(along - 0.22 + gait, 0.0), (along - 0.22 - gait, 0.0)]
    return _body(brush, appearance, hip, 0.6, feet=feet, hands=[(near, 0.36), (near, 0.3)])


def _body(
    brush: Brush,
    appearance: Appearance,
    hip: Point,
    lean: float,
    *,
    feet: list[Point],
    hands: list[Point],
) -> Box:
    """A figure with its hip at `hip`, leaning forward by `lean` radians; returns its box."""
    shoulder = (hip[0] + 0.33 * np.sin(lean), hip[1] + 0.33 * np.cos(lean))
    head = (shoulder[0] + 0.15 * np.sin(lean * 0.6), shoulder[1] + 0.15 * np.cos(lean * 0.6))
    thick = appearance.girth / 2
    parts = [(hip, thick * 1.7), (shoulder, thick * 1.7), (head, 0.1)]
    for foot in feet:
        knee, toes = _joint(hip, foot, 0.255, 1), (foot[0] + 0.07, foot[1])
        parts += [(knee, thick), (foot, thick), (toes, thick * 0.8)]
        brush.limb(appearance.trousers, appearance.girth, hip, knee, foot)
        brush.limb(appearance.hair, appearance.girth * 0.8, foot, toes)
    brush.limb(appearance.shirt, appearance.girth * 1.7, hip, shoulder)
    brush.disc(appearance.hair, (head[0] - 0.015, head[1] + 0.015), 0.082)
    brush.disc(appearance.skin, (head[0] + 0.012, head[1] - 0.008), 0.072)
    for hand in hands:
        elbow = _joint(shoulder, hand, 0.19, -1)
        parts += [(elbow, thick * 0.8), (hand, thick * 0.7)]
        brush.limb(appearance.shirt, appearance.girth * 0.8, shoulder, elbow)
        brush.limb(appearance.skin, appearance.girth * 0.7, elbow, hand)
    return brush.around(*parts)


def _hang(hip: Point, lean: float, forward: float) -> Point:
    return (hip[0] + 0.33 * np.sin(lean) + forward, hip[1] + 0.33 * np.cos(lean) - 0.34)


def _joint(start: Point, end: Point, length: float, bend: int) -> Point:
    """The knee or elbow between two ends, of two bones of equal `length`."""
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    dx, dy = end[0] - start[0], end[1] - start[1]
    distance = float(np.hypot(dx, dy))
    out = bend * np.sqrt(max(0.0, length**2 - distance**2 / 4)) / max(distance, 1e-6)
    return (middle[0] - dy * out, middle[1] + dx * out)


def _place(rng: np.random.Generator, width: int, height: int) -> Frames:
    """A wall with texture, pictures and a floor, wider than the frame."""
    wide = width * 3 // 2
    top, bottom, floor = (_muted(rng) for _ in range(3))
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    wall = np.repeat(top * (1 - down) + bottom * down, wide, axis=1)
    horizon = int(height * rng.uniform(0.74, 0.84))
    wall[horizon:] = floor * (0.7 + 0.3 * down[horizon:])
    coarse = rng.normal(0, 11, (height // 15, wide // 15, 3)).astype(np.float32)
    wall += cv2.resize(coarse, (wide, height), interpolation=cv2.INTER_CUBIC)
    frame = np.clip(wall, 0, 255).astype(np.uint8)
    for _ in range(7):
        x, y = int(rng.integers(0, wide)), int(rng.integers(0, horizon))
        w, h = (int(size) for size in rng.integers(height // 12, height // 4, 2))
        colour = _colour(_muted(rng))
        cv2.rectangle(frame, (x, y), (x + w, min(y + h, horizon)), colour, -1)
        cv2.rectangle(frame, (x, y), (x + w, min(y + h, horizon)), (30, 30, 30), 1)
    return frame


def _mix(dark: Colour, light: Colour, share: float) -> Colour:
    return _colour(np.array(dark) * (1 - share) + np.array(light) * share)


def _muted(rng: np.random.Generator) -> NDArray[np.float32]:
    grey = rng.uniform(60, 210)
    return np.clip(grey + rng.normal(0, 22, 3), 20, 235).astype(np.float32)


def _vivid(rng: np.random.Generator) -> Colour:
    hue, value = int(rng.integers(0, 180)), int(rng.integers(110, 256))
    pixel = np.array([[[hue, int(rng.integers(140, 256)), value]]], np.uint8)
    return _colour(cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0])


def _colour(values: NDArray) -> Colour:
    red, green, blue = (int(value) for value in values)
    return (red, green, blue)
