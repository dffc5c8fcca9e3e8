"""How extraction and training behave with more workers and more clips.

    python -m benchmarks.scale

Extraction is the stage's own function, on real clips where KINOFLOW_REAL_DATA names some.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped]

from benchmarks import footage, machine
from benchmarks.repository import REPOSITORY
from kinoflow import config
from kinoflow.config import Compute
from kinoflow.data.clips import ClipStore
from kinoflow.data.extraction import extract_clip
from kinoflow.video.spec import ClipSpec
from kinoflow.workspace import Workspace
from stages import extract

SPEC = ClipSpec(20, 64, 64)
COMPUTE = config.load(REPOSITORY.params).compute

# these run in processes of their own, whose memory is watched
_EXTRACT = """
import sys
from pathlib import Path
from benchmarks import scale
scale.extract_all(Path(sys.argv[1]), Path(sys.argv[2]))
"""
_TRAIN = """
import sys
from pathlib import Path
from kinoflow.system import terminal
terminal.quiet()
from benchmarks import scale
scale.train_epoch(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
"""


def catalog_of(data: Path, names: list[str]) -> pd.DataFrame:
    """The columns of a catalog that extraction reads. Links to the same video have the same MD5."""
    md5 = [str((data / name).resolve()) for name in names]
    return pd.DataFrame({"video": names, "md5": md5, "readable": True})


def extract_all(data: Path, out: Path, compute: Compute = COMPUTE) -> float:
    """Extract every video below `data`; return the seconds it took."""
    names = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.avi"))
    started = time.perf_counter()
    extract.extract(catalog_of(data, names), data, ClipStore(out / "clips"), SPEC, compute)
    return time.perf_counter() - started


def plain_processes(data: Path, out: Path, workers: int) -> float:
    """Decode the same videos by a plain pool of processes; return the seconds it took."""
    tasks = [
        (path, SPEC, ClipStore(out).path(path.relative_to(data).as_posix()))
        for path in sorted(data.rglob("*.avi"))
    ]
    started = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.starmap(extract_clip, tasks, chunksize=COMPUTE.videos_per_task)
    return time.perf_counter() - started


def train_epoch(data: Path, count: int, out: Path) -> None:
    """Train an LRCN for one epoch on `count` clips of random pixels, read from disk."""
    from kinoflow.data.clips import ClipSet
    from kinoflow.training.fit import Outputs, TrainingData, fit

    values = config.load(REPOSITORY.params).model_dump()
    values["clip"] = vars(SPEC)
    values["candidates"] = {"lrcn": {"model": "lrcn", "frames": 4, "height": 32, "width": 32}}
    values["training"]["epochs"] = 1
    rng = np.random.default_rng(0)
    videos = tuple(f"{number:05d}.avi" for number in range(count))
    for video in videos:
        path = ClipStore(data).path(video)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, rng.integers(0, 256, SPEC.shape, dtype=np.uint8))
    labels = np.arange(count) % 2
    few = ClipSet(data, videos[:20], labels[:20])
    run = config.Params.model_validate(values).resolve("lrcn")
    train = ClipSet(data, videos, labels)
    data_set = TrainingData(("a", "b"), train, few, md5="", val_recordings=len(few))
    fit(run, data_set, Outputs.of(Workspace(out), run.name))


def peak_megabytes(code: str, *arguments: object) -> float:
    """The peak memory of a program and its children together, in MiB; shared pages count once."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPOSITORY.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peak = 0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        try:
            for each in (watched, *watched.children(recursive=True)):
                total += each.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
        peak = max(peak, total)
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"the program to be measured failed with {process.returncode}")
    return peak / 2**20


def report() -> str:
    """All measurements as Markdown."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        real = footage.real()
        videos = real or footage.rendered(folder / "rendered", 60, 320, 240)
        what = "UCF-101" if real else "Rendered"
        small = footage.rendered(folder / "small", 40, 96, 72)
        footage.multiplied(videos, folder / "500", 500)

        def seconds(run: Callable[..., float], data: Path, *arguments: object) -> float:
            """The median of three runs, each into an empty folder."""
            taken = []
            for _ in range(3):
                with tempfile.TemporaryDirectory(dir=folder) as out:
                    taken.append(run(data, Path(out), *arguments))
            return sorted(taken)[1]

        one, two = (COMPUTE.model_copy(update={"workers": count}) for count in (1, 2))
        dask = [seconds(extract_all, folder / "500", each) for each in (one, two)]
        plain = [seconds(plain_processes, folder / "500", count) for count in (1, 2)]
        footage.multiplied(videos, folder / "2000", 2000)
        many = [seconds(extract_all, folder / "2000", each) for each in (one, two)]

        memory = {}
        for count in (500, 5000):
            data = folder / f"small{count}"
            footage.multiplied(small, data, count)
            memory["extract", count] = peak_megabytes(_EXTRACT, data, folder / f"out{count}")
            memory["train", count] = peak_megabytes(
                _TRAIN, folder / "noise", count, folder / f"trained{count}"
            )

        footage.multiplied(small, folder / "fifty", 50)
        fifty = seconds(extract_all, folder / "fifty")
        footage.multiplied(small, folder / "small5000", 5050)
        more = extract_all(folder / "small5000", folder / "out5000")

    def growth(what: str) -> str:
        few, many = memory[what, 500], memory[what, 5000]
        return f"{few:.0f} MB | {many:.0f} MB | {100 * (many / few - 1):+.1f}%"

    return f"""{what} clips of 320x240 to {SPEC.frames} frames of 64x64, start-up included, \
medians of three runs:

| | one worker | two workers | ratio |
|---|---:|---:|---:|
| 2,000 clips by the stage `extract`, on Dask | {many[0]:.2f} s | {many[1]:.2f} s | \
{many[0] / many[1]:.2f} |
| 500 clips by the stage `extract`, on Dask | {dask[0]:.2f} s | {dask[1]:.2f} s | \
{dask[0] / dask[1]:.2f} |
| 500 clips by a plain pool of processes | {plain[0]:.2f} s | {plain[1]:.2f} s | \
{plain[0] / plain[1]:.2f} |
| Dask to plain | {dask[0] / plain[0]:.2f} | {dask[1] / plain[1]:.2f} | |

Peak memory of all processes together:

| | 500 clips | 5,000 clips | |
|---|---:|---:|---:|
| extract | {growth("extract")} |
| an epoch of training | {growth("train")} |

After 5,000 rendered clips of 96x72, another 50 take {more:.2f} s; 50 alone take {fifty:.2f} s.
"""


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__).parse_args()
    # for the processes of the pool and of Dask
    os.environ.setdefault("PYTHONPATH", str(REPOSITORY.root))
    print(machine.name(), machine.versions(), sep="\n", end="\n\n")
    print(report())
