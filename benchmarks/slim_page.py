"""The page of benchmarks/slim.py, and what is measured for it."""

import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.serve import Load

TENSORFLOW = "TensorFlow"
CLIENTS = (1, 16)
TO_REACH = {"size": 0.35, "start": 0.5}
_SHOWN = 5  # packages of which the page tells the size


@dataclass
class Start:
    """How one start went: seconds since the process was started."""

    ready: float  # until /readyz answers 200
    answer: float  # until the first video is answered
    processor: float  # of all its processes, until it is ready
    memory_mb: float  # of the worker after the first answer


@dataclass
class Packed:
    """A Bento and the environment that it runs in."""

    name: str
    bento: Path
    python: Path
    starts: list[Start] = field(default_factory=list)
    loads: dict[int, list[Load]] = field(default_factory=dict)  # by the number of clients
    memory_mb: float = 0.0  # of the worker, after them
    probabilities: list[list[float]] = field(default_factory=list)  # of each video


def installed(found: dict[str, dict[str, float]]) -> str:
    """The sizes of the environments, as Markdown."""
    whole = {name: sum(parts.values()) for name, parts in found.items()}
    lines = ["| | MB | of TensorFlow's | the largest, in MB |", "|---|---:|---:|---|"]
    for name, parts in found.items():
        largest = sorted(parts.items(), key=lambda part: -part[1])[:_SHOWN]
        told = ", ".join(f"{part} {size:.0f}" for part, size in largest)
        ratio = whole[name] / whole[TENSORFLOW]
        lines.append(f"| {name} | {whole[name]:.0f} | {ratio:.2f} | {told} |")
    return "\n".join([*lines, ""])


def cold(bentos: list[Packed]) -> str:
    """The starts, as Markdown: medians, and those of the ratios within a round."""
    first = bentos[0]
    lines = [
        "| | s to ready | of TensorFlow's | s to the first answer | processor s | of TensorFlow's "
        "| worker, MB | after the load, MB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for packed in bentos:
        pairs = [*zip(packed.starts, first.starts, strict=True)]
        cells = [
            f"{_median(one.ready for one in packed.starts):.1f}",
            f"{_median(one.ready / other.ready for one, other in pairs):.2f}",
            f"{_median(one.answer for one in packed.starts):.1f}",
            f"{_median(one.processor for one in packed.starts):.1f}",
            f"{_median(one.processor / other.processor for one, other in pairs):.2f}",
            f"{_median(one.memory_mb for one in packed.starts):.0f}",
            f"{packed.memory_mb:.0f}",
        ]
        lines.append(f"| {packed.name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def speeds(bentos: list[Packed]) -> str:
    """The answers, as Markdown."""
    first = bentos[0]
    expected = np.array(first.probabilities)
    lines = [
        "| | clients | answers/s | of TensorFlow's | p50 ms | p95 ms | model, ms | processor "
        "ms/answer | refused or failed | largest change |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for clients in CLIENTS:
        for packed in bentos:
            loads, theirs = packed.loads[clients], first.loads[clients]
            pairs = zip(loads, theirs, strict=True)
            answers = [reply for one in loads for reply in one.answered]
            change = np.abs(np.array(packed.probabilities) - expected).max()
            cells = [
                f"{_median(one.per_second for one in loads):.1f}",
                f"{_median(one.per_second / other.per_second for one, other in pairs):.2f}",
                f"{_median(one.latency_ms(0.5) for one in loads):.0f}",
                f"{_median(one.latency_ms(0.95) for one in loads):.0f}",
                f"{_median(one.body['milliseconds']['inference'] for one in answers):.1f}",
                f"{1000 * sum(one.processor_s for one in loads) / len(answers):.0f}",
                str(sum(len(one.replies) - len(one.answered) for one in loads)),
                f"{change:.0e}",
            ]
            lines.append(f"| {packed.name} | {clients} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def page(
    found: dict[str, dict[str, float]],
    candidates: dict[str, list[Packed]],
    *,
    rounds: int,
    seconds: float,
) -> str:
    """benchmarks/slim.md.

    Args:
        found: megabytes by package, by what is packed.
        candidates: their Bentos, the one with TensorFlow first.
        rounds: of starts, and of loads.
        seconds: of a load.
    """
    parts = "\n".join(
        f"## `{name}`\n\n{cold(bentos)}\n{speeds(bentos)}" for name, bentos in candidates.items()
    )
    named, python = " ".join(candidates), ".".join(map(str, sys.version_info[:2]))
    videos = max(len(packed.probabilities) for bentos in candidates.values() for packed in bentos)
    return f"""# Bentos without TensorFlow

Written by

```sh
python -m benchmarks.slim {named} --rounds {rounds} --seconds {seconds:g}
```

in a work tree with trained candidates. Each is packed as it is, for TensorFlow, and as forms in
float32. [docs/serving.md](../docs/serving.md#without-tensorflow) says what such a Bento does.

{machine.name()}

To reach: at most {TO_REACH["size"]:g} of the size and {TO_REACH["start"]:g} of the time to start.

## Installed

What a Bento pins, installed alone into an empty environment of Python {python}, with compiled
bytecode: site-packages, without Python itself and without the Bento, which takes a few megabytes.

{installed(found)}
For each candidate, below:

- **Starts**: from the start of the process, as a container starts it, to the first 200 of
  `/readyz`, and to the first answer to a video. A service answers `/readyz` once it has answered
  its check videos. The Bentos took turns, {rounds} rounds; files were in the disk's cache. Medians,
  and medians of the ratios within a round. Processor seconds are those of all processes until
  `/readyz`. The memory is that of the worker, which holds the model, after its first answer and at
  the end.
- **Answers**: all Bentos ran, and were asked in turn for {seconds:g} s, {rounds} rounds, by clients
  on the same machine that send the next video when the last is answered. *model* is the median of
  `milliseconds.inference`. *largest change* is that of a probability from TensorFlow's, over
  {videos} test videos, as they come over HTTP.

{parts}"""
