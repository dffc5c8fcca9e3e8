"""Small real videos for tests."""

import subprocess
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

from kinoflow.video import Frames


def moving_square(frames: int, height: int = 48, width: int = 64, seed: int = 0) -> Frames:
    """uint8 RGB (frames, height, width, 3): a square that crosses a noisy background."""
    rng = np.random.default_rng(seed)
    still = rng.integers(0, 120, (height, width, 3), dtype=np.uint8)
    colour = rng.integers(150, 256, 3, dtype=np.uint8)
    clip = np.repeat(still[None], frames, axis=0)
    for index in range(frames):
        left = index * (width - 16) // max(1, frames - 1)
        clip[index, 16:32, left : left + 16] = colour
    return clip


def write_video(path: Path, clip: Frames, fps: float = 25.0) -> Path:
    """Write RGB frames as Motion JPEG; the suffix must be .avi."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (clip.shape[2], clip.shape[1])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, size)
    for frame in clip:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    assert path.stat().st_size > 0
    return path


def footage(folder: Path, classes: int = 2, groups: int = 4, clips: int = 2) -> Path:
    """A folder per class, with videos named as UCF-101 names them."""
    for label in "ABCDEFGH"[:classes]:
        for group in range(1, groups + 1):
            for clip in range(1, clips + 1):
                name = f"{label}/v_{label}_g{group:02d}_c{clip:02d}.avi"
                seed = ord(label) * 10000 + group * 100 + clip
                write_video(folder / name, moving_square(12, seed=seed))
    return folder


def ffmpeg(*arguments: object) -> bytes:
    """Run the FFmpeg program, and return what it writes to stdout."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True).stdout
