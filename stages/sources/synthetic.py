"""Short films of a jointed figure in cluttered scenes: the embedded data, same seed, same bytes.

Classes come in pairs that are each other played backwards, so that no single frame tells the two
apart. Who acts, where, and in what light belongs to the recording (the group), and every
recording shows one class, as in UCF-101: a model that learns the recordings by heart looks good
on a random split and not on a grouped one.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kinoflow.config import Dataset
from kinoflow.video.decoder import probe
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import Frames
from stages.sources import Item
from stages.sources.figure import Brush, Look, backdrop, box, door, look, sit

# name, what is drawn, and whether its phase runs backwards
CLASSES: tuple[tuple[str, Callable[[Brush, Look, float], None], bool], ...] = (
    ("SitDown", sit, False),
    ("StandUp", sit, True),
    ("OpenDoor", door, False),
    ("CloseDoor", door, True),
    ("PushBox", box, False),
    ("PullBox", box, True),
)

FPS = 25.0

# part of every fingerprint: raise it when the pictures change
_VERSION = 1


@dataclass(frozen=True)
class Film:
    """One video: which class, recording and clip, all from one seed."""

    seed: int
    label: int  # index into CLASSES
    group: int
    clip: int
    width: int  # pixels
    height: int  # pixels

    @property
    def name(self) -> str:
        """Path below data/, as UCF-101 names its clips."""
        label = CLASSES[self.label][0]
        return f"{label}/v_{label}_g{self.group:02d}_c{self.clip:02d}.avi"


def items(dataset: Dataset, seed: int, downloads: Path) -> list[Item]:
    """The films that `dataset.synthetic` asks for; none is rendered before it is fetched."""
    wanted = dataset.synthetic
    return [
        Item(film.name, f"synthetic-{_VERSION}-{film}", partial(write, film))
        for label in range(wanted.classes)
        for group in range(1, wanted.groups + 1)
        for clip in range(1, wanted.clips_per_group + 1)
        for film in [Film(seed, label, group, clip, wanted.width, wanted.height)]
    ]


def phases(film: Film) -> NDArray[np.float64]:
    """How far the action has come in each frame, from 0 to 1, or from 1 to 0 played backwards."""
    rng = np.random.default_rng((film.seed, film.label, film.group, film.clip, 1))
    moving = int(rng.integers(26, 38))
    before, after = rng.integers(2, 7, 2)
    time = np.concatenate([np.zeros(before), np.linspace(0, 1, moving), np.ones(after)])
    eased = time * time * (3 - 2 * time)
    return eased[::-1] if CLASSES[film.label][2] else eased


def render(film: Film) -> Frames:
    """The film as uint8 RGB (T, H, W, 3)."""
    _, draw, _ = CLASSES[film.label]
    appearance = look(
        np.random.default_rng((film.seed, film.label, film.group)), film.width, film.height
    )
    rng = np.random.default_rng((film.seed, film.label, film.group, film.clip))
    facing = int(rng.choice([-1, 1]))
    unit = appearance.height * film.height * rng.uniform(0.95, 1.05)
    origin = film.width * (0.5 + rng.uniform(-0.05, 0.05)) - facing * 0.15 * unit
    ground = film.height * rng.uniform(0.9, 0.95)
    offset, start = film.width * 0.25 + rng.uniform(-8, 8), rng.uniform(0, 100)
    grain = rng.normal(0, 2.5, (4, film.height, film.width, 1)).astype(np.int16)

    frames = []
    for time, phase in enumerate(phases(film)):
        canvas = backdrop(appearance, time + start * 0.1, offset, film.width, film.height)
        sway = 0.3 * np.sin(time * 0.7 + start)
        draw(Brush(canvas, ground, origin + sway, unit, facing), appearance, float(phase))
        light = appearance.light + appearance.flicker * np.sin(time * 0.9 + start)
        lit = cv2.convertScaleAbs(canvas, alpha=light)
        frames.append(np.clip(lit + grain[time % 4], 0, 255).astype(np.uint8))
    return np.stack(frames)


def write(film: Film, path: Path) -> None:
    """Render a film to `path` as AVI with MPEG-4 video, the format of UCF-101.

    Raises OSError if not all of it could be written, which OpenCV itself does not tell.
    """
    frames = render(film)
    size = (film.width, film.height)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"XVID"), FPS, size)
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    try:
        whole = probe(path).frames == len(frames)
    except UnreadableVideo:
        whole = False
    if not whole:
        raise OSError(errno.ENOSPC, "not all frames could be written", str(path))
