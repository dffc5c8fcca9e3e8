"""Make the pictures of docs/style.md, all of rendered films and of styles drawn by code.

python -m benchmarks.style_pictures --weights FILE [--steps 60]
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.repository import REPOSITORY
from benchmarks.styles import STYLES
from kinoflow.style.flow import Motion
from kinoflow.system import errors, files
from kinoflow.video.spec import Frames
from stages.sources import synthetic, truth_flow
from stages.sources.synthetic import SyntheticVideo

FILM = SyntheticVideo(seed=1001, label=4, group=3, clip=1, width=192, height=144)
MOMENT = 24  # the frame that is shown
_GAP = 6  # white pixels between pictures
_FASTEST = 8.0  # pixels in a frame, at which a flow has its full colour


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.style_pictures", description=__doc__
    )
    parser.add_argument("--weights", required=True, help="of SqueezeNet: a file")
    parser.add_argument("--steps", type=int, default=60, help="of the optimiser at each level")
    arguments = parser.parse_args()
    frame = synthetic.render(FILM)[MOMENT]
    docs = REPOSITORY.root / "docs"
    motion = truth_flow.motions(FILM)[MOMENT - 1]
    _write(docs / "style_flow.jpg", _row(frame, _coloured(motion), _mask(motion)))
    print(docs / "style_flow.jpg", flush=True)
    painted = _painted(frame, arguments.weights, arguments.steps)
    styles = [_scaled(draw(1, 256), frame.shape[0]) for draw in STYLES.values()]
    blank = np.full((frame.shape[0], frame.shape[1], 3), 255, np.uint8)
    upper = _row(blank, *[_centred(style, frame.shape[1]) for style in styles])
    _write(docs / "style.jpg", _stacked(upper, _row(frame, *painted)))
    print(docs / "style.jpg", flush=True)


def _painted(frame: Frames, weights: str, steps: int) -> list[Frames]:
    """The frame in each style."""
    from kinoflow.style.features import Features
    from kinoflow.style.optimise import Options, Style, stylise
    from kinoflow.style.pictures import to_bytes, to_floats

    features = Features(weights=weights)
    found = []
    for name, draw in STYLES.items():
        style = Style(features, [to_floats(draw(1, 256))], longest=max(frame.shape[:2]))
        found.append(to_bytes(stylise(to_floats(frame), style, Options(steps=steps))))
        print(name, flush=True)
    return found


def _coloured(motion: Motion) -> Frames:
    """Where pixels move: the way as the hue, and how fast as the strength of the colour."""
    x, y = (-motion.backward).transpose(2, 0, 1)  # from the frame before to this one
    hue = (np.degrees(np.arctan2(y, x)) % 360) / 2
    strength = np.sqrt(np.clip(np.hypot(x, y) / _FASTEST, 0, 1)) * 255
    hsv = np.stack([hue, strength, np.full_like(hue, 255)], axis=-1).astype(np.uint8)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), dtype=np.uint8)


def _mask(motion: Motion) -> Frames:
    grey = (255 * motion.visible).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _scaled(picture: Frames, side: int) -> Frames:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _centred(picture: Frames, width: int) -> Frames:
    left = (width - picture.shape[1]) // 2
    around = ((0, 0), (left, width - picture.shape[1] - left), (0, 0))
    return np.pad(picture, around, constant_values=255)


def _row(*pictures: Frames) -> Frames:
    gap = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)


def _stacked(*rows: Frames) -> Frames:
    gap = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
    parts = [part for row in rows for part in (gap, row)]
    return np.concatenate(parts[1:], axis=0)


def _write(path: Path, picture: NDArray[np.uint8]) -> None:
    with files.replacing(path) as partial:
        Image.fromarray(picture).save(partial, format="JPEG", quality=88, optimize=True)


if __name__ == "__main__":
    errors.run(main)
