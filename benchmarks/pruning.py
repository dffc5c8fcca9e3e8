"""What pruning costs in accuracy, and what it gains in size and time: benchmarks/pruning.md.

    python -m benchmarks.pruning --into FOLDER [--tree FOLDER] [--epochs N] [--made] [--test]

Takes trained candidates of a work tree in which `make repro` has run, takes channels out of them or
sets weights to 0, and fine-tunes them. What the folder holds from an earlier run is not made again;
with `--made`, nothing else is made. All accuracies are of validation clips. `--test` also scores
half of the channels on test clips: once, when nothing is left to be chosen. It takes half an hour
on two cores.
"""

import argparse
import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.repository import REPOSITORY
from kinoflow import bundle, config
from kinoflow.bundle import Bundle
from kinoflow.data import clips, tables
from kinoflow.reports import comparison, metrics, scoring
from kinoflow.reports.scoring import Side
from kinoflow.system import errors, files, terminal
from kinoflow.video.spec import Frames
from kinoflow.workspace import Workspace

PAGE = Path(__file__).parent / "pruning.md"
CANDIDATES = ("r2plus1d", "lrcn")
SHARES = (0.5, 0.25, 0.75)  # of the channels; the first is the one with a goal
SPARSITIES = (0.5, 0.8, 0.9, 0.95)  # of the weights
ROUNDS = 40  # in which all forms are timed in turn
RESAMPLES = 5000
TIMES_AS_FAST, POINTS = 1.5, 0.02  # the goal for half of the channels


@dataclass(frozen=True)
class Row:
    """One form of a candidate."""

    name: str
    parameters: int
    multiply_adds: int  # for one view of a clip
    compressed: int  # bytes of model.keras
    hits: NDArray[np.bool_]  # (N,) which validation clips it is right about
    wall_ms: float  # for one view of a clip, in OpenVINO
    processor_ms: float
    test: NDArray[np.bool_] | None = None


def forms(tree: Workspace, name: str, into: Path, epochs: int, made: bool) -> dict[str, Bundle]:
    """The original and all that is made of it, or was, by what was done."""
    from kinoflow.compress.prune import pruned
    from kinoflow.compress.settings import FineTune
    from kinoflow.compress.sparse import sparse
    from kinoflow.training.fit import TrainingData

    run, data = config.load(tree.params).resolve(name), TrainingData.of(tree)
    original = bundle.load(tree.bundle(name))
    found = {"original": original}
    by_taylor = functools.partial(pruned, criterion="taylor")
    makers: list[tuple[str, Callable[..., Bundle], tuple[float, ...]]] = [
        ("channels", pruned, SHARES),
        ("weights", sparse, SPARSITIES),
        ("channels, by Taylor", by_taylor, SHARES[:1]),  # the goal
    ]
    for what, make, amounts in makers:
        # the weights that are left are still what they were: half of the epochs will do
        settings = FineTune(epochs=max(1, epochs // 2) if make is sparse else epochs)
        for amount in amounts:
            folder = into / f"{name}-{what.replace(', by ', '-').lower()}-{amount}"
            if not folder.exists() and not made:
                begun = time.monotonic()
                make(original, run, data, amount, settings, folder)
                print(f"{folder.name}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
            if folder.exists():
                found[f"{amount:.0%} of {what}"] = bundle.load(folder)
    return found


def rows(made: dict[str, Bundle], val: Side, test: Side | None, into: Path) -> list[Row]:
    """Measure all forms of a candidate."""
    from kinoflow.compress.counting import multiply_adds
    from kinoflow.compress.sparse import compressed_bytes

    times = timings(made, val.clips.clip(0), into)
    half = f"{SHARES[0]:.0%} of channels"
    return [
        Row(
            name,
            each.model.count_params(),
            multiply_adds(each.model),
            compressed_bytes(each.folder / bundle.MODEL),
            hits(each, val),
            *times[name],
            hits(each, test) if test and name in {"original", half} else None,
        )
        for name, each in made.items()
    ]


def hits(model: Bundle, side: Side) -> NDArray[np.bool_]:
    """Which clips (N,) of a side a model is right about."""
    answers = scoring.answer(model, side, model.description.name).calibrated
    right: NDArray[np.bool_] = answers.argmax(axis=1) == side.clips.labels
    return right


def timings(made: dict[str, Bundle], clip: Frames, into: Path) -> dict[str, tuple[float, float]]:
    """Median milliseconds of wall and processor for a view in OpenVINO, on one thread.

    All take turns, so that what else the machine does falls on all alike.
    """
    from kinoflow.compress import exporting
    from kinoflow.compress import forms as loading
    from kinoflow.compress.exporting import Clips

    answering = {}
    for name, each in made.items():
        folder = into / "openvino" / f"{each.folder.name}-{files.folder_md5(each.folder)[:8]}"
        if not folder.exists():
            exporting.export(each.folder, folder, "openvino", Clips(clip[None], "a clip"))
        answering[name] = loading.load(folder, threads=1).forward
    view = made["original"].views(clip)[:1]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in answering}
    for _ in range(ROUNDS):
        for name, answer in answering.items():
            wall, processor = time.perf_counter(), time.process_time()
            answer(view)
            taken[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {
        name: (float(np.median(walls)) * 1000, float(np.median(processors)) * 1000)
        for name, (walls, processors) in ((n, zip(*t, strict=True)) for n, t in taken.items())
    }


# === The page ===


def table(found: list[Row], groups: NDArray) -> str:
    """All forms of a candidate, as Markdown."""
    first = found[0]
    lines = [
        "| left out | accuracy | less the original's | parameters | multiply-adds | MB compressed "
        "| ms | times as fast | processor ms | times as fast |",
        f"|---|---|---|{'---:|' * 7}",
    ]
    for row in found:
        cells = [
            row.name,
            accuracy(row.hits, groups),
            "" if row is first else difference(first.hits, row.hits, groups),
            f"{row.parameters:,}",
            f"{row.multiply_adds / 1e6:.1f} M",
            f"{row.compressed / 1e6:.3f}",
            f"{row.wall_ms:.2f}",
            f"{first.wall_ms / row.wall_ms:.2f}",
            f"{row.processor_ms:.2f}",
            f"{first.processor_ms / row.processor_ms:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def accuracy(right: NDArray[np.bool_], groups: NDArray) -> str:
    """An accuracy with its interval, which resamples recordings."""
    low, high = metrics.bootstrap_interval(right, groups, RESAMPLES, 0)
    return f"{right.mean():.3f} ({low:.3f} to {high:.3f})"


def difference(one: NDArray[np.bool_], other: NDArray[np.bool_], groups: NDArray) -> str:
    """How much more accurate the other is, paired by clip, with its interval by recording."""
    compared = comparison.compare(
        {"other": other, "one": one}, groups, bootstrap=RESAMPLES, seed=0
    ).iloc[0]
    return f"{compared['difference']:+.3f} ({compared['low']:+.3f} to {compared['high']:+.3f})"


def verdict(name: str, found: list[Row], groups: NDArray) -> str:
    """Whether half of the channels reach the goal, in one line."""
    first, half = found[0], found[1]
    faster, lost = first.processor_ms / half.processor_ms, first.hits.mean() - half.hits.mean()
    reached = "reached" if faster >= TIMES_AS_FAST and lost <= POINTS + 1e-9 else "missed"
    return (
        f"- `{name}`: {reached}: {faster:.2f} times as fast by the processor, "
        f"{first.wall_ms / half.wall_ms:.2f} times by the clock, "
        f"{difference(first.hits, half.hits, groups)} in accuracy."
    )


def page(measured: dict[str, list[Row]], val: Side, test: Side | None, epochs: int) -> str:
    """benchmarks/pruning.md."""
    sections = "\n".join(
        f"## {name}\n\n{table(found, val.groups)}" for name, found in measured.items()
    )
    verdicts = "\n".join(verdict(name, found, val.groups) for name, found in measured.items())
    tested = ""
    if test is not None:
        lines = []
        for name, (first, half, *_) in measured.items():
            assert first.test is not None
            assert half.test is not None
            scored = [accuracy(each, test.groups) for each in (first.test, half.test)]
            scored.append(difference(first.test, half.test, test.groups))
            lines.append(f"| {name} | {' | '.join(scored)} |")
        body = "\n".join(lines)
        tested = f"""## Test clips

Half of the channels, on {len(test.clips)} test clips of {len(set(test.groups))} recordings, scored
once, after everything above.

| | original | half of its channels | difference |
|---|---|---|---|
{body}
"""
    return f"""# Pruning

`python -m benchmarks.pruning` writes this page. Candidates were trained on the embedded data as
params.yaml says. Then channels were taken out, or weights set to 0, and what was left was
fine-tuned with the original as its teacher ([how](../docs/compressing.md)): for {epochs} epochs
after channels were taken out, {epochs // 2} while weights become 0. Accuracy is that of
{len(val.clips)} validation clips of {len(set(val.groups))} recordings; intervals resample
recordings, and differences are paired by clip. One clip is {100 / len(val.clips):.1f} points.

Times are for one view of a clip in OpenVINO, float32, one thread: medians of {ROUNDS} rounds in
which all forms take turns. The clock also runs while other programs hold the processor, so the time
of the processor says more. Multiply-adds are of one view. "MB compressed" is model.keras after
DEFLATE: in memory, a weight of 0 takes as much as any other, and as long.

{machine.name()}
{machine.versions()}

The goal is half of the channels at least {TIMES_AS_FAST} times as fast, within
{100 * POINTS:.0f} points:

{verdicts}

{sections}{tested}"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pruning", description=__doc__)
    parser.add_argument("--into", type=Path, required=True, help="folder of what is made")
    parser.add_argument("--tree", type=Path, default=REPOSITORY.root, help="a work tree")
    parser.add_argument("--epochs", type=int, default=8, help="of fine-tuning")
    parser.add_argument("--made", action="store_true", help="measure what is there, make nothing")
    parser.add_argument("--test", action="store_true", help="score half of the channels on test")
    parser.add_argument("names", nargs="*", default=CANDIDATES, metavar="CANDIDATE")
    given = parser.parse_args()
    terminal.quiet()
    tree = Workspace(given.tree.absolute())
    _, sides = scoring.load_sides(tree, tables.SIDES, clips.split_table(tree))
    test = sides["test"] if given.test else None
    measured = {}
    for name in given.names:
        made = forms(tree, name, given.into, given.epochs, given.made)
        measured[name] = rows(made, sides["val"], test, given.into)
    files.write_text(PAGE, page(measured, sides["val"], test, given.epochs))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    errors.run(main)
