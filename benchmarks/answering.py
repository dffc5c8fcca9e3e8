"""How long an answer takes, and how much of that is the model's own forward pass.

    python -m benchmarks.answering [ARCHITECTURE ...]

Every architecture at the settings that params.yaml has for it, or else with 16 frames.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.repository import REPOSITORY
from kinoflow import bundle, config
from kinoflow.bundle import Bundle
from kinoflow.config import Candidate, Params
from kinoflow.models.registry import MODULES
from kinoflow.system import errors, terminal
from kinoflow.video.sampling import temporal_views
from kinoflow.video.spec import Frames

ROUNDS = 40
FRAMES = 16  # that a model takes if params.yaml has no candidate of its architecture

Answer = Callable[[Frames], Any]  # to one clip (T, H, W, 3)


@dataclass(frozen=True)
class Cost:
    """What something took, in seconds."""

    wall: float
    processor: float  # of all threads together


@dataclass(frozen=True)
class Row:
    """An architecture's costs: of its first answer, loading included, and of later ones."""

    name: str
    views: int
    first: dict[str, Cost]
    rounds: dict[str, list[Cost]]

    def typical(self, way: str) -> Cost:
        """The medians of a way's rounds."""
        costs = self.rounds[way]
        return Cost(
            statistics.median(cost.wall for cost in costs),
            statistics.median(cost.processor for cost in costs),
        )

    def least(self, way: str) -> Cost:
        """The minima of a way's rounds."""
        costs = self.rounds[way]
        return Cost(min(cost.wall for cost in costs), min(cost.processor for cost in costs))


def measure(name: str, params: Params) -> Row:
    """Measure an architecture: each way in turn, round after round."""
    from tests.networks import build, save_bundle

    candidate = params.candidates.get(name) or Candidate(model=name, frames=FRAMES)
    clip = np.random.default_rng(0).integers(0, 256, params.clip.shape, dtype=np.uint8)
    model = build(candidate, params.clip, 5)
    starts = {"before": _one_by_one, "now": _now, "bare": _bare}
    if _recurrent(model):
        starts["unrolled"] = _unrolled
    first: dict[str, Cost] = {}
    ways: dict[str, Answer] = {}
    with tempfile.TemporaryDirectory() as folder:
        taken = candidate.spec(params.clip)
        save_bundle(Path(folder), model, taken, params.evaluation.views, clip=params.clip)
        for way, start in starts.items():
            first[way], ways[way] = _first_answer(start, bundle.load(folder), clip)
        views = len(_times(bundle.load(folder)))
    rounds: dict[str, list[Cost]] = {way: [] for way in ways}
    for number in range(ROUNDS):
        # there and back, so that none always follows the same one
        for way in list(ways)[:: 1 if number % 2 else -1]:
            rounds[way].append(_cost(partial(ways[way], clip)))
    return Row(name, views, first, rounds)


def _times(loaded: Bundle) -> list[Any]:
    description = loaded.description
    return temporal_views(description.clip.frames, description.frames, description.views)


def _recurrent(model: Any) -> list[Any]:
    import keras

    # ConvLSTM2D, a recurrent layer too, is unrolled as it is
    cells = (keras.layers.SimpleRNN, keras.layers.LSTM, keras.layers.GRU)
    return [layer for layer in model.layers if isinstance(layer, cells)]


def _one_by_one(loaded: Bundle, _: Frames) -> Answer:
    """A call for each view, as at commit 68b38ca."""
    return lambda clip: np.mean(
        [loaded.model.predict_on_batch(clip[view][None])[0] for view in _times(loaded)], axis=0
    )


def _now(loaded: Bundle, _: Frames) -> Answer:
    return lambda clip: loaded.predict(clip[None])[0]


def _bare(loaded: Bundle, clip: Frames) -> Answer:
    """The forward pass of the same views in one batch, which is a tensor before the clock runs."""
    import tensorflow as tf

    model, views = loaded.model, tf.constant(clip[np.stack(_times(loaded))])
    forward = tf.function(lambda batch: model(batch, training=False))
    return lambda _: forward(views).numpy()


def _unrolled(loaded: Bundle, clip: Frames) -> Answer:
    """The same, with a step of its own in the graph for every frame in place of a loop."""
    for layer in _recurrent(loaded.model):
        layer.unroll = True
    return _bare(loaded, clip)


def _first_answer(
    start: Callable[[Bundle, Frames], Answer], loaded: Bundle, clip: Frames
) -> tuple[Cost, Answer]:
    """What a way takes from loading the model to its first answer, and its later answers."""
    answers: list[Answer] = []

    def begin() -> None:
        answers.append(start(loaded, clip))
        answers[0](clip)

    return _cost(begin), answers[0]


def _cost(run: Callable[[], Any]) -> Cost:
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return Cost(time.perf_counter() - wall, time.process_time() - processor)


def answer_table(rows: list[Row]) -> str:
    """Answers before, now and bare, as Markdown."""
    lines = []
    for row in rows:
        before, now, bare = (row.typical(way) for way in ("before", "now", "bare"))
        least_now, least_bare = row.least("now"), row.least("bare")
        lines.append(
            f"| `{row.name}` | {row.views} | {_milliseconds(before)} | {_milliseconds(now)} | "
            f"{_milliseconds(bare)} | {now.processor / before.processor:.2f} | "
            f"{now.wall / bare.wall:.2f} | {now.processor / bare.processor:.2f} | "
            f"{least_now.wall / least_bare.wall:.2f} | "
            f"{least_now.processor / least_bare.processor:.2f} | "
            f"{_seconds(row.first['before'])} | {_seconds(row.first['now'])} |"
        )
    return "\n".join(
        [
            "| | views | before, ms | now, ms | bare, ms | now to before | now to bare: median "
            "| processor | minimum | processor | first before, s | first now, s |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
            *lines,
            "",
        ]
    )


def unrolled_table(rows: list[Row]) -> str:
    """The models with recurrent layers, with a loop and unrolled, as Markdown."""
    lines = []
    for row in rows:
        if "unrolled" in row.rounds:
            loop, unrolled = row.least("bare"), row.least("unrolled")
            lines.append(
                f"| `{row.name}` | {_milliseconds(loop)} | {_milliseconds(unrolled)} | "
                f"{unrolled.processor / loop.processor:.2f} | {_seconds(row.first['bare'])} | "
                f"{_seconds(row.first['unrolled'])} |"
            )
    return "\n".join(
        [
            "| | loop, ms | unrolled, ms | processor | first loop, s | first unrolled, s |",
            "|---|---:|---:|---:|---:|---:|",
            *lines,
            "",
        ]
    )


def _milliseconds(cost: Cost) -> str:
    return f"{1000 * cost.wall:.1f} ({1000 * cost.processor:.1f})"


def _seconds(cost: Cost) -> str:
    return f"{cost.wall:.1f} ({cost.processor:.1f})"


def report(names: tuple[str, ...] = tuple(MODULES)) -> str:
    """The comparisons, as Markdown."""
    params = config.load(REPOSITORY.params)
    rows = []
    for name in names:
        rows.append(measure(name, params))
        print(answer_table(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    clip = params.clip
    return f"""One clip of {clip.frames} frames of {clip.height}x{clip.width}, candidates as in \
params.yaml or else with {FRAMES} frames, random weights, all cores, TensorFlow. Milliseconds are \
medians of {ROUNDS} rounds in which the ways take turns, with processor milliseconds in brackets.

- before: one call for each view, as at commit 68b38ca
- now: `Bundle.predict`, one compiled call for all views
- bare: the compiled forward pass of the same model and views, in a batch that is a tensor already
- first: the first answer, with loading and compiling, in seconds

{answer_table(rows)}
The models with recurrent layers, bare, with the loop over time that Keras makes and unrolled, \
minima of the same rounds. Bundles keep the loop: unrolling gains next to nothing and compiles for \
longer.

{unrolled_table(rows)}"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answering", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="ARCHITECTURE", help="one of docs/models.md")
    names = parser.parse_args().names
    terminal.quiet()
    print(machine.name(), report(tuple(names or MODULES)), sep="\n\n")


if __name__ == "__main__":
    errors.run(main)
