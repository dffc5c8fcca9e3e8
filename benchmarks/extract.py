"""Sampling 20 frames of 64x64 from each video: kinoflow and the usual ways, in one run.

    python -m benchmarks.extract [--rounds 5]

All run on one core, one after the other in each round, so that other load on the machine slows all
of them alike.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks import footage, machine
from kinoflow.video.decoder import probe, sample
from kinoflow.video.sampling import frame_indices
from kinoflow.video.spec import ClipSpec, Frames

SPEC = ClipSpec(20, 64, 64)

Sampler = Callable[[Path], object]


def seeking(path: Path) -> object:
    """A seek before every frame, as in tutorials on LRCN and ConvLSTM."""
    capture = cv2.VideoCapture(str(path))
    step = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) // SPEC.frames, 1)
    frames = []
    for number in range(SPEC.frames):
        capture.set(cv2.CAP_PROP_POS_FRAMES, number * step)
        decoded, frame = capture.read()
        if not decoded:
            break
        frames.append(cv2.resize(frame, (SPEC.width, SPEC.height)) / 255)
    capture.release()
    return frames


def opencv_in_order(path: Path) -> object:
    """Every frame grabbed, the wanted ones retrieved."""
    capture = cv2.VideoCapture(str(path))
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = set(frame_indices(total, SPEC.frames).tolist())
    frames, index = [], 0
    while capture.grab():
        if index in wanted:
            frames.append(_small(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)))
        index += 1
    capture.release()
    return frames


def pyav_everything(path: Path) -> list[Frames]:
    """Every frame decoded and converted to an array; then the wanted ones are picked."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [_small(frames[index]) for index in frame_indices(len(frames), SPEC.frames)]


def pyav_wanted(path: Path) -> object:
    """Every frame decoded, the wanted ones converted; the header is trusted for their number."""
    with av.open(str(path)) as container:
        wanted = set(frame_indices(container.streams.video[0].frames, SPEC.frames).tolist())
        return [
            _small(frame.to_ndarray(format="rgb24"))
            for index, frame in enumerate(container.decode(video=0))
            if index in wanted
        ]


def decord_batch(path: Path) -> object:
    """The wanted frames in one batch, scaled by decord."""
    import decord

    reader = decord.VideoReader(str(path), width=SPEC.width, height=SPEC.height, num_threads=1)
    return reader.get_batch(frame_indices(len(reader), SPEC.frames).tolist()).asnumpy()


def kinoflow(path: Path) -> object:
    return sample(path, SPEC)


SAMPLERS: dict[str, Sampler] = {
    "kinoflow": kinoflow,
    "a seek before every frame (OpenCV)": seeking,
    "OpenCV, in order": opencv_in_order,
    "PyAV, every frame an array": pyav_everything,
    "PyAV, wanted frames an array": pyav_wanted,
    "decord": decord_batch,
}


def _small(frame: object) -> Frames:
    picture = np.asarray(frame, np.uint8)
    size = (SPEC.width, SPEC.height)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def available() -> dict[str, Sampler]:
    """The samplers that can run here: decord has no wheels for most machines."""
    try:
        import decord  # noqa: F401
    except ImportError:
        return {name: run for name, run in SAMPLERS.items() if run is not decord_batch}
    return SAMPLERS


def measure(videos: list[Path], rounds: int) -> dict[str, float]:
    """Seconds a clip by sampler: the median over the rounds."""
    samplers = available()
    taken: dict[str, list[float]] = {name: [] for name in samplers}
    for run in samplers.values():
        run(videos[0])
    for _ in range(rounds):
        for name, run in samplers.items():
            started = time.perf_counter()
            for path in videos:
                run(path)
            taken[name].append((time.perf_counter() - started) / len(videos))
    return {name: statistics.median(times) for name, times in taken.items()}


@contextlib.contextmanager
def _on_one_core() -> Iterator[None]:
    """Keep this process to one core, where the system can."""
    threads = cv2.getNumThreads()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if cores:
        os.sched_setaffinity(0, {min(cores)})
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        if cores:
            os.sched_setaffinity(0, cores)


def report(rounds: int = 5) -> str:
    """The comparison as a Markdown table."""
    with _on_one_core(), tempfile.TemporaryDirectory() as folder:
        videos = footage.real() or footage.rendered(Path(folder), 60, 320, 240)
        what = "UCF-101" if footage.real() else "rendered"
        frames = sum(probe(path).frames for path in videos)
        same = all(np.array_equal(sample(p, SPEC), np.stack(pyav_everything(p))) for p in videos)
        seconds = measure(videos, rounds)
    own = seconds["kinoflow"]
    rows = "\n".join(
        f"| {name} | {1000 * taken:.1f} | {frames / len(videos) / taken:,.0f} | {taken / own:.2f} |"
        for name, taken in seconds.items()
    )
    return f"""{SPEC.frames} frames of {SPEC.height}x{SPEC.width} from {len(videos)} {what} clips, \
{frames / len(videos):.0f} frames of 320x240 XviD each, on one core, median of {rounds} rounds. \
kinoflow's frames are {"identical" if same else "NOT identical"} to those picked after decoding all.

| | ms a clip | frames/s | times kinoflow |
|---|---:|---:|---:|
{rows}
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extract", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(machine.name(), machine.versions(), sep="\n", end="\n\n")
    print(report(rounds))
