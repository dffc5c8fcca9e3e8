"""Styles to repaint films in, all drawn by code: no picture of anybody else.

    python -m benchmarks.styles FOLDER

writes each as a picture. Same seed, same picture.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kinoflow.system import errors, files
from kinoflow.video.spec import Frames

SIZE = 256  # pixels
Colours = NDArray[np.float64]  # RGB, 0 to 255, (N, 3)


def strokes(seed: int = 1, size: int = SIZE) -> Frames:
    """Thick short strokes of oil that flow around swirls, in blue and yellow."""
    rng = np.random.default_rng((seed, 1))
    scale = size / 256
    palette = _colours("0b1d4f 14357f 1f5fa8 3a86c8 7fb4d8 d9d7a0 f2c53d e79a1b 163a36")
    swirls = rng.uniform(0, size, (7, 2))
    turn = rng.choice([-1.0, 1.0], 7) * rng.uniform(0.7, 1.3, 7)
    light = _soft_noise(rng, size, 5)

    def heading(x: float, y: float) -> float:
        dx, dy = x - swirls[:, 0], y - swirls[:, 1]
        near = turn * np.exp(-np.hypot(dx, dy) / (45 * scale))
        away = np.hypot(dx, dy) + 1e-6
        flow = np.array([0.35, 0.1]) + (near / away * np.stack([-dy, dx])).sum(axis=1)
        return float(np.arctan2(flow[1], flow[0]))

    canvas = np.full((size, size, 3), palette[1], np.uint8)
    for number in range(2600):
        x, y = rng.uniform(-8, size + 8, 2)
        swirl = float(np.hypot(*(swirls - (x, y)).T).min()) / (38 * scale)
        shade = light[int(np.clip(y, 0, size - 1)), int(np.clip(x, 0, size - 1))]
        # yellow glows in the middle of a swirl
        place = 0.55 * shade + 0.62 * np.exp(-(swirl**2) * 2.2) + rng.normal(0, 0.06)
        index = int(np.clip(place * 8, 0, 7)) if rng.random() > 0.04 else 8
        colour = np.clip(palette[index] + rng.normal(0, 11, 3), 0, 255)
        points = [(x, y)]
        for _ in range(4):
            angle = heading(*points[-1])
            step = 3.6 * scale
            points.append(
                (points[-1][0] + step * np.cos(angle), points[-1][1] + step * np.sin(angle))
            )
        thick = max(1, round((5.5 if number < 900 else 3.4) * scale))
        _line(canvas, points, colour, thick)
        # a ridge of paint catches the light
        _line(canvas, [(a - 0.9, b - 0.9) for a, b in points], np.clip(colour + 26, 0, 255), 1)
    return canvas


def mosaic(seed: int = 1, size: int = SIZE) -> Frames:
    """Tesserae of stone in curved rows, with dark grout between them."""
    rng = np.random.default_rng((seed, 2))
    scale = size / 256
    palette = _colours("7b1e1e b5482a d98e3f ead9a8 f3ead3 2d5d5a 1d3b53 6f8f72 3b2a20")
    canvas = np.full((size, size, 3), (48, 42, 38), np.uint8)
    field = _soft_noise(rng, size, 3)
    side, middle = 10.5 * scale, np.array([size * 0.32, size * 1.25])
    radius = side
    while radius < size * 1.7:
        around = max(6, int(2 * np.pi * radius / side))
        turn = rng.uniform(0, 2 * np.pi)
        for angle in turn + np.arange(around) * 2 * np.pi / around:
            x, y = middle + radius * np.array([np.cos(angle), np.sin(angle)])
            if not (-side < x < size + side and -side < y < size + side):
                continue
            value = field[int(np.clip(y, 0, size - 1)), int(np.clip(x, 0, size - 1))]
            band = int(value * 9 + 0.5 * np.sin(radius / side * 1.1)) % 8
            colour = palette[8] if rng.random() < 0.03 else palette[band]
            colour = np.clip(colour * rng.uniform(0.82, 1.12) + rng.normal(0, 5, 3), 0, 255)
            half = side * 0.5 * rng.uniform(0.74, 0.86, (4, 1))
            corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
            tilt = angle + rng.normal(0, 0.06)
            turned = corners @ np.array(
                [[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]]
            )
            _polygon(canvas, turned + np.array([x, y]), colour)
        radius += side * 1.02
    return canvas


def woodcut(seed: int = 1, size: int = SIZE) -> Frames:
    """Lines cut into wood, printed in black on cream: the darker, the thicker they are."""
    rng = np.random.default_rng((seed, 3))
    y, x = np.mgrid[:size, :size].astype(np.float64) * (256 / size)
    tone = _soft_noise(rng, size, 4)
    bend = _soft_noise(rng, size, 3) * 46
    # each patch of wood is cut along another way
    patches = (_soft_noise(rng, size, 4) * 5).astype(int)
    ink = np.zeros((size, size))
    for index, angle in enumerate(rng.permutation(np.linspace(0, np.pi, 6)[:5])):
        across = x * np.sin(angle) + y * np.cos(angle) + bend
        wave = 0.5 + 0.5 * np.cos(across * 2 * np.pi / 7.2 + rng.uniform(0, 6))
        # a cut tapers where the knife came out
        taper = 0.1 * np.sin((x * np.cos(angle) - y * np.sin(angle)) / 9 + rng.uniform(0, 6))
        cut = wave > 1.05 * tone - 0.08 + taper
        ink[patches == index] = (~cut)[patches == index]
    edges = cv2.dilate(cv2.Laplacian(patches.astype(np.float32), cv2.CV_32F), np.ones((2, 2)))
    ink[np.abs(edges) > 0.5] = 1
    printed = np.asarray(cv2.GaussianBlur(ink, (0, 0), 0.6 * size / 256))[..., None]
    cream, black = _colours("efe3c6 1d1a18")
    grain = 1 - 0.09 * rng.random((size, size, 1))
    return np.clip(
        cream * (1 - printed) + black * printed * grain + 7 * (1 - grain), 0, 255
    ).astype(np.uint8)


def waves(seed: int = 1, size: int = SIZE) -> Frames:
    """Rows of waves, arch behind arch, with foam, in the blues of a print."""
    rng = np.random.default_rng((seed, 4))
    scale = size / 256
    palette = _colours("f4efe0 0f2a52 1f4e8c f4efe0 4f8fbf a9cfe0 0f2a52")
    canvas = np.full((size, size, 3), palette[0], np.uint8)
    radius = 27 * scale
    rows = int(size / (radius * 0.5)) + 4
    for row in range(rows):
        y = -radius + row * radius * 0.5
        for column in range(-1, int(size / (2 * radius)) + 3):
            x = (2 * column + row % 2) * radius + 2.2 * scale * np.sin(row * 1.7)
            wobble = rng.uniform(0.97, 1.03)
            shades = [palette[1], palette[0], palette[2], palette[3], palette[4], palette[5]]
            for shade, share in zip(shades, (1.0, 0.93, 0.84, 0.62, 0.53, 0.3), strict=True):
                _disc(canvas, (x, y + radius), radius * share * wobble, shade)
            for angle in rng.uniform(-2.7, -0.4, 3):  # drops of foam along the crest
                at = (x + radius * 0.98 * np.cos(angle), y + radius + radius * 0.98 * np.sin(angle))
                _disc(canvas, at, rng.uniform(1.0, 2.6) * scale, palette[0])
    paper = 1 - 0.06 * rng.random((size, size, 1))
    return np.clip(canvas * paper, 0, 255).astype(np.uint8)


STYLES: dict[str, Callable[[int, int], Frames]] = {
    "strokes": strokes,
    "mosaic": mosaic,
    "woodcut": woodcut,
    "waves": waves,
}


def _colours(codes: str) -> Colours:
    """Colours as they are written on the web, apart by spaces."""
    return np.array([list(bytes.fromhex(code)) for code in codes.split()], np.float64)


def _soft_noise(rng: np.random.Generator, size: int, cells: int) -> NDArray[np.float64]:
    """Smooth noise (size, size) from 0 to 1, every share of which is as frequent."""
    coarse = rng.random((cells + 2, cells + 2)).astype(np.float32)
    smooth = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    order = smooth.reshape(-1).argsort().argsort()
    return np.asarray(order.reshape(size, size) / (size * size - 1))


_BITS = 4  # fractional ones of places


def _fixed(points: object) -> NDArray[np.int32]:
    return np.rint(np.asarray(points, np.float64) * (1 << _BITS)).astype(np.int32)


def _line(canvas: Frames, points: object, colour: NDArray, thick: int) -> None:
    cv2.polylines(canvas, [_fixed(points)], False, colour.tolist(), thick, cv2.LINE_AA, _BITS)


def _polygon(canvas: Frames, points: object, colour: NDArray) -> None:
    cv2.fillPoly(canvas, [_fixed(points)], colour.tolist(), cv2.LINE_AA, _BITS)


def _disc(canvas: Frames, centre: tuple[float, float], radius: float, colour: NDArray) -> None:
    x, y, r = _fixed((*centre, radius)).tolist()
    cv2.circle(canvas, (x, y), r, colour.tolist(), -1, cv2.LINE_AA, _BITS)


def write(folder: Path, seed: int = 1, size: int = SIZE) -> dict[str, Path]:
    """Write each style as a PNG file of its name into a folder; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, draw in STYLES.items():
        paths[name] = folder / f"{name}.png"
        with files.replacing(paths[name]) as partial:
            Image.fromarray(draw(seed, size)).save(partial, format="PNG")
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.styles", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=SIZE, help="pixels of a side")
    arguments = parser.parse_args()
    for path in write(arguments.folder, arguments.seed, arguments.size).values():
        print(path)


if __name__ == "__main__":
    errors.run(main)
