"""The videos that benchmarks decode."""

import os
from pathlib import Path

import cv2

from kinoflow import config
from kinoflow.video.spec import Frames
from stages.sources import synthetic


def real() -> list[Path]:
    """Real clips from the folder named by KINOFLOW_REAL_DATA; none without it."""
    folder = os.environ.get("KINOFLOW_REAL_DATA")
    return sorted((Path(folder) / "ucf101-mini").rglob("*.avi")) if folder else []


def rendered(folder: Path, count: int, width: int, height: int) -> list[Path]:
    """`count` videos of the embedded data set: AVI files with XviD, as in UCF-101."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset = config.Dataset(synthetic=config.Synthetic(groups=count, width=width, height=height))
    paths = []
    # one video of each recording of the first class
    for item in synthetic.items(dataset, 7, folder)[: 3 * count : 3]:
        paths.append(folder / Path(item.name).name)
        item.fetch(paths[-1])
    return paths


def write(path: Path, frames: Frames, fps: float) -> None:
    """Write frames, uint8 RGB (T, H, W, 3), as an AVI file with XviD, as in UCF-101."""
    height, width = frames.shape[1:3]
    kind = cv2.VideoWriter.fourcc(*"XVID")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, kind, fps, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def multiplied(videos: list[Path], folder: Path, count: int) -> None:
    """Fill `folder` with `count` links to `videos`, used in turn."""
    for number in range(count):
        source = videos[number % len(videos)].resolve()
        path = folder / f"{number % 4}/{number:05d}{source.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.symlink_to(source)
