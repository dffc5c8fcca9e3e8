"""Follow a film with a model on one core, as fast as it goes; prints JSON.

python -m benchmarks.compress_live MODEL FILM
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av

from kinoflow.compress import forms
from kinoflow.live import Answering
from kinoflow.video.live import timed

_SECONDS = 8.0  # that are measured
_RATE = 25.0  # frames a second of the camera


def main(model: str, film: str) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    bundle = forms.load_any(Path(model))
    frames = [frame for _, frame in timed(film)]
    answering = Answering(bundle, bundle.description.seconds or 2.0)
    arriving = ((number / _RATE, frames[number % len(frames)]) for number in itertools.count())
    for _ in range(4 * len(frames)):  # the first answers compile
        _answers(answering, arriving)
    begun, worked = time.perf_counter(), time.process_time()
    measured = answers = 0
    while time.perf_counter() - begun < _SECONDS:
        answers += _answers(answering, arriving)
        measured += 1
    print(
        json.dumps(
            {
                "frames_per_s": measured / (time.perf_counter() - begun),
                "frames_per_answer": measured / max(1, answers),
                "processor_ms": 1000 * (time.process_time() - worked) / measured,
            }
        )
    )


def _answers(answering: Answering, arriving: Iterator[tuple[float, av.VideoFrame]]) -> int:
    """How many answers the next frame brings."""
    return sum(1 for _ in answering.add(*next(arriving)))


if __name__ == "__main__":
    main(*sys.argv[1:])
