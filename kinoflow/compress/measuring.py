"""What answers of a bundle or a form take: time and memory, in a process of their own.

`python -m kinoflow.compress.measuring FOLDER CLIPS [CORES]` prints the `Cost` as JSON. A process of
its own, because a runtime decides at its start how many threads it has, and so that memory is that
of this model alone.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kinoflow.system.errors import UserError
from kinoflow.video.spec import Frames

_WARM = 3  # answers before the clock runs: the first ones compile
_ANSWERS = (15, 200)  # that are timed, at least and at most
_SECONDS = 2.0  # after which no further one is timed
_LONGEST = 300  # seconds for the whole process, with loading


@dataclass(frozen=True)
class Cost:
    """What answers to single clips take, all views of each, without decoding."""

    median_ms: float  # by the clock
    p95_ms: float
    processor_ms: float  # the mean, of all threads
    peak_mb: float  # memory of the process, with its libraries


def measure(folder: Path, clips: Frames, cores: int | None = None) -> Cost:
    """Measure a bundle or a form.

    Args:
        folder: its folder.
        clips: uint8 (N, T, H, W, 3) that it answers in turn.
        cores: how many processor cores it may use; None: all.

    Raises UserError if it cannot be loaded or run.
    """
    with tempfile.TemporaryDirectory(prefix="kinoflow-measure-") as scratch:
        path = Path(scratch) / "clips.npy"
        np.save(path, clips)
        command = [sys.executable, "-m", "kinoflow.compress.measuring", str(folder), str(path)]
        try:
            done = subprocess.run(
                [*command, *([] if cores is None else [str(cores)])],
                capture_output=True,
                text=True,
                check=False,
                timeout=_LONGEST,
            )
        except subprocess.TimeoutExpired:
            raise UserError(
                f"{folder} cannot be measured: it took over {_LONGEST} seconds"
            ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise UserError(f"{folder} cannot be measured: {last}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def timed(answer: Callable[[Frames], object], clips: Frames) -> Cost:
    """Time answers to single clips, in this process.

    Args:
        answer: called with clips (1, T, H, W, 3).
        clips: uint8 (N, T, H, W, 3), taken in turn.
    """
    for index in range(_WARM):
        answer(clips[index % len(clips)][None])
    taken: list[float] = []
    least, most = _ANSWERS
    begun, worked = time.perf_counter(), time.process_time()
    while len(taken) < least or (len(taken) < most and time.perf_counter() - begun < _SECONDS):
        clip = clips[len(taken) % len(clips)][None]
        start = time.perf_counter()
        answer(clip)
        taken.append(time.perf_counter() - start)
    processor = (time.process_time() - worked) / len(taken)
    return Cost(
        median_ms=round(float(np.median(taken)) * 1000, 3),
        p95_ms=round(float(np.percentile(taken, 95)) * 1000, 3),
        processor_ms=round(processor * 1000, 3),
        peak_mb=round(peak_bytes() / 1e6, 1),
    )


def peak_bytes() -> int:
    """The most memory that this process has held at a time."""
    try:
        # getrusage would count the process that started this one, too
        status = Path("/proc/self/status").read_text(encoding="ascii")
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    except FileNotFoundError:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _main(folder: str, path: str, cores: str | None = None) -> None:
    if cores is not None and hasattr(os, "sched_setaffinity"):
        # the last ones: others tend to begin with the first
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-int(cores) :])
    from kinoflow.compress import forms

    model = forms.load_any(Path(folder))
    print(json.dumps(asdict(timed(model.predict, np.load(path)))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
