"""Make the videos by which a service checks itself before it answers: nobody's footage."""

from pathlib import Path

import av
import numpy as np

from kinoflow.bundle import Bundle
from kinoflow.compress import forms
from kinoflow.compress.forms import Form
from kinoflow.reports.check import Check, CheckVideo
from kinoflow.video import sample
from kinoflow.video.spec import ClipSpec, Frames

_VIDEOS = 3
_MOST_FRAMES = 16
_FPS = 25


def make_check(folder: Path, target: Path) -> None:
    """Make a few small videos, and check.json with the answers of a bundle to them.

    Args:
        folder: of the bundle or the form.
        target: the folder to make.
    """
    model = forms.load_any(folder)
    target.mkdir()
    videos = []
    for number in range(_VIDEOS):
        path = target / f"{number}.avi"
        _write(path, moving_shapes(model.clip, number))
        (answer,) = model.predict(sample(path, model.clip)[None])
        probabilities = {
            label: round(float(p), 6) for label, p in zip(model.labels, answer, strict=True)
        }
        videos.append(CheckVideo(file=path.name, probabilities=probabilities))
    precision = model.details.precision if isinstance(model, Form) else None
    Check(device=_device(model), precision=precision, videos=tuple(videos)).write(
        target / "check.json"
    )


def _device(model: Bundle) -> str:
    if not model.is_network:
        return "cpu:0"
    import keras  # after the bundle, which keeps its chatter off the terminal

    name: str = keras.distribution.list_devices()[0]
    return name


def moving_shapes(clip: ClipSpec, seed: int) -> Frames:
    """uint8 RGB (T, H, W, 3): a few rectangles that move over a plain background, at the size of a
    clip, so that nothing has to be scaled."""
    rng = np.random.default_rng(seed)
    size = np.array([clip.height, clip.width])
    frames = np.empty((min(clip.frames, _MOST_FRAMES), *size, 3), np.uint8)
    frames[:] = rng.integers(0, 256, 3)
    for _ in range(4):
        colour = rng.integers(0, 256, 3)
        extent = (size * rng.uniform(0.2, 0.5, 2)).astype(int) + 1
        begin, end = (size - extent) * rng.uniform(0, 1, (2, 2))
        for frame, part in zip(frames, np.linspace(0, 1, len(frames)), strict=True):
            top, left = (begin + part * (end - begin)).astype(int)
            frame[top : top + extent[0], left : left + extent[1]] = colour
    return frames


def _write(path: Path, frames: Frames) -> None:
    """Write a video without loss; the same frames give the same bytes."""
    with av.open(path, "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("ffv1", rate=_FPS)
        stream.height, stream.width = frames.shape[1:3]
        # stored as red, green and blue, so that no conversion rounds
        stream.pix_fmt = "bgr0"
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        # one slice and one thread: their number is part of the bytes
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"slices": "1", "level": "3"}
        for array in frames:
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
