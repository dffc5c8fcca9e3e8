"""The embedded data: rendered videos of a jointed figure. Same seed, same bytes.

Classes come in pairs. One class of a pair is the other played backwards, so no single frame tells
the two apart. Actor, scene and light belong to the recording (the group), and every recording shows
one class, as in UCF-101. So a model that memorises recordings scores well on a random split, but
not on a grouped one.
"""

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow.config import Dataset
from kinoflow.data import tables
from kinoflow.video.decoder import probe
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import Frames
from kinoflow.workspace import TRUTH
from stages.sources.figure import (
    Appearance,
    Box,
    Brush,
    backdrop,
    box,
    door,
    random_appearance,
    sit,
)
from stages.sources.item import Item

# name, what is drawn, and whether its phase runs backwards
CLASSES: tuple[tuple[str, Callable[[Brush, Appearance, float], Box], bool], ...] = (
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
class SyntheticVideo:
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
    """The videos that `dataset.synthetic` asks for, and where the actor is in each of their frames.

    Each is rendered when it is fetched.
    """
    videos = videos_of(dataset, seed)
    truth = Item(
        TRUTH, f"synthetic-{_VERSION}-{seed}-{dataset.synthetic}", partial(write_truth, videos)
    )
    rendered = [
        Item(video.name, f"synthetic-{_VERSION}-{astuple(video)}", partial(write, video))
        for video in videos
    ]
    return [*rendered, truth]


def videos_of(dataset: Dataset, seed: int) -> list[SyntheticVideo]:
    """The videos that `dataset.synthetic` asks for."""
    wanted = dataset.synthetic
    return [
        SyntheticVideo(seed, label, group, clip, wanted.width, wanted.height)
        for label in range(wanted.classes)
        for group in range(1, wanted.groups + 1)
        for clip in range(1, wanted.clips_per_group + 1)
    ]


def phases(video: SyntheticVideo) -> NDArray[np.float64]:
    """The phase of the action in each frame, (T,): 0 to 1, or 1 to 0 if played backwards."""
    rng = np.random.default_rng((video.seed, video.label, video.group, video.clip, 1))
    moving = int(rng.integers(26, 38))
    before, after = rng.integers(2, 7, 2)
    time = np.concatenate([np.zeros(before), np.linspace(0, 1, moving), np.ones(after)])
    eased = time * time * (3 - 2 * time)
    return eased[::-1] if CLASSES[video.label][2] else eased


@dataclass(frozen=True)
class Scene:
    """Where one video puts its actor, all from the video's seed."""

    appearance: Appearance
    rng: np.random.Generator  # for what is drawn besides the actor
    brush: Callable[[Frames, float], Brush]  # for a canvas, and the actor's sway in pixels


# most of the time that a scene takes; the next video is mostly of the same group
@lru_cache(maxsize=1)
def _appearance(seed: int, label: int, group: int, width: int, height: int) -> Appearance:
    return random_appearance(np.random.default_rng((seed, label, group)), width, height)


def scene_of(video: SyntheticVideo) -> Scene:
    """The scene of a video; what is drawn next comes from its `rng`, in a fixed order."""
    appearance = _appearance(video.seed, video.label, video.group, video.width, video.height)
    rng = np.random.default_rng((video.seed, video.label, video.group, video.clip))
    facing = int(rng.choice([-1, 1]))
    unit = appearance.height * video.height * rng.uniform(0.95, 1.05)
    origin = video.width * (0.5 + rng.uniform(-0.05, 0.05)) - facing * 0.15 * unit
    ground = video.height * rng.uniform(0.9, 0.95)
    return Scene(
        appearance, rng, lambda canvas, shift: Brush(canvas, ground, origin + shift, unit, facing)
    )


def sway(time: int, start: float) -> float:
    """Pixels to the right by which the actor sways in frame `time`; `start` shifts the time."""
    return 0.3 * float(np.sin(time * 0.7 + start))


@dataclass(frozen=True)
class Exposure:
    """One frame of a video before light and camera have left their marks on it."""

    world: Frames  # what is there, in its own colours, uint8 RGB (H, W, 3)
    light: float  # factor of all colours
    grain: NDArray[np.int16]  # what the camera adds to all of them, (H, W, 1)


def exposures(video: SyntheticVideo) -> Iterator[Exposure]:
    """The frames of a video in order, each taken apart into what is there and what is added."""
    _, draw, _ = CLASSES[video.label]
    scene = scene_of(video)
    appearance, rng = scene.appearance, scene.rng
    offset, start = video.width * 0.25 + rng.uniform(-8, 8), rng.uniform(0, 100)
    grain = rng.normal(0, 2.5, (4, video.height, video.width, 1)).astype(np.int16)

    for time, phase in enumerate(phases(video)):
        canvas = backdrop(appearance, time + start * 0.1, offset, video.width, video.height)
        draw(scene.brush(canvas, sway(time, start)), appearance, float(phase))
        light = appearance.light + appearance.flicker * np.sin(time * 0.9 + start)
        yield Exposure(canvas, float(light), grain[time % 4])


def render(video: SyntheticVideo) -> Frames:
    """The video as uint8 RGB (T, H, W, 3)."""
    return np.stack([photograph(exposure) for exposure in exposures(video)])


def photograph(exposure: Exposure) -> Frames:
    """A frame as the camera takes it, uint8 RGB (H, W, 3)."""
    lit = cv2.convertScaleAbs(exposure.world, alpha=exposure.light)
    return np.clip(lit + exposure.grain, 0, 255).astype(np.uint8)


def actor_boxes(video: SyntheticVideo) -> NDArray[np.float64]:
    """Where the actor is in each frame, without what it handles.

    Returns (T, 4): left, top, right and bottom as fractions of the frame, 0 to 1.
    """
    _, draw, _ = CLASSES[video.label]
    scene = scene_of(video)
    scene.rng.uniform(-8, 8)
    start = scene.rng.uniform(0, 100)
    nothing = np.zeros((1, 1, 3), np.uint8)  # what is drawn is not looked at
    boxes = [
        draw(scene.brush(nothing, sway(time, start)), scene.appearance, float(phase))
        for time, phase in enumerate(phases(video))
    ]
    size = (video.width, video.height, video.width, video.height)
    return np.clip(np.array(boxes) / size, 0, 1)


def write_truth(videos: Iterable[SyntheticVideo], path: Path) -> None:
    """Write where the actor is in each frame of videos: the table `tables.TRUTH`."""
    parts = []
    for video in videos:
        boxes = pd.DataFrame(actor_boxes(video), columns=["left", "top", "right", "bottom"])
        boxes.insert(0, "frame", range(len(boxes)))
        boxes.insert(0, "video", video.name)
        parts.append(boxes)
    tables.write(pd.concat(parts, ignore_index=True), path, tables.TRUTH)


def write(video: SyntheticVideo, path: Path) -> None:
    """Render a video to `path` as AVI with MPEG-4 video, the format of UCF-101.

    Raises OSError if not all of it could be written, which OpenCV itself does not report.
    """
    frames = render(video)
    size = (video.width, video.height)
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
