"""What a student gains by its teacher, beside the same network trained on labels alone.

    python -m benchmarks.distillation WORKTREE --into FOLDER [--seeds 7 8 9] [--only WAY ...]
    python -m benchmarks.distillation WORKTREE --into FOLDER --test

The work tree is one in which `dvc repro` has trained the teacher on the embedded data. Students are
trained into FOLDER, as candidates of that work tree would be, once for each seed: on labels alone;
with the teacher; and with the teacher and as many more clips without labels, of recordings that are
rendered for this. What FOLDER already holds is not trained again. Validation clips are scored:
choose settings by these. With `--test` nothing is trained; what FOLDER holds is scored on test
clips as well, and on 216 recordings that are rendered for this, and benchmarks/distillation.md is
written. It takes half an hour and more on two cores.
"""

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks import machine
from kinoflow import bundle, config
from kinoflow.bundle import Bundle
from kinoflow.config import Params
from kinoflow.data import clips
from kinoflow.data.clips import ClipSet, ClipStore
from kinoflow.data.extraction import extract_clip
from kinoflow.reports import comparison, scoring
from kinoflow.system import documents, errors, files, terminal
from kinoflow.workspace import Workspace
from stages.sources import synthetic

PAGE = Path(__file__).parent / "distillation.md"
TEACHER = "r2plus1d"
# R(2+1)D with a quarter of the default widths
WIDTHS = [4, 8, 16, 32]
STUDENT: dict[str, Any] = {"model": "r2plus1d", "frames": 16, "options": {"filters": WIDTHS}}
SEEDS = (7, 8, 9)
# seeds of recordings without labels, and of those to test on: none is in the embedded data
OTHERS, FRESH = 1007, 2007
RECORDINGS = 36  # of each class, with a clip each: as many clips as there are to train on
RESAMPLES = 10_000

ALONE, TAUGHT, MORE = "labels alone", "taught", "taught, and more footage"


NAMES = {ALONE: "labels-alone", TAUGHT: "taught", MORE: "more"}  # as candidates


@dataclass(frozen=True)
class Bench:
    """Where the benchmark reads and writes."""

    workspace: Workspace
    into: Path

    @property
    def footage(self) -> ClipStore:
        """Clips of recordings that nobody has labelled."""
        return ClipStore(self.into / "footage")

    @property
    def fresh(self) -> ClipStore:
        """Clips of recordings that no model has seen."""
        return ClipStore(self.into / "fresh")

    def params(self, seed: int) -> Params:
        """params.yaml of the work tree, with the student in all its ways."""
        values = documents.read_yaml(self.workspace.params)
        others = {TEACHER: values["candidates"][TEACHER], NAMES[ALONE]: STUDENT}
        students = {
            NAMES[way]: STUDENT | {"teacher": TEACHER, "distil": {"unlabelled": way == MORE}}
            for way in (TAUGHT, MORE)
        }
        values |= {"seed": seed, "candidates": others, "students": students}
        return config.checked(values, self.workspace.params)

    def seeds(self, way: str) -> list[int]:
        """The seeds of which a way of training has been finished."""
        found = self.into.glob(f"*/{NAMES[way]}/{bundle.MODEL}")
        return sorted(int(path.parent.parent.name) for path in found)


def render(store: ClipStore, params: Params, seed: int) -> list[str]:
    """Render and sample recordings of the embedded kind, once; their names."""
    shape = {"groups": RECORDINGS, "clips_per_group": 1}
    rendered = params.dataset.synthetic.model_copy(update=shape)
    dataset = params.dataset.model_copy(update={"synthetic": rendered})
    # without the file that says where the actor is
    items = [item for item in synthetic.items(dataset, seed, store.folder) if "/" in item.name]
    for item in terminal.progress(items, store.folder.name):
        target = store.path(item.name)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            video = target.with_suffix(".avi")
            item.fetch(video)
            extract_clip(video, params.clip, target)
            video.unlink()
    return sorted(item.name for item in items)


def train(bench: Bench, way: str, seed: int) -> Bundle:
    """The student of one seed, trained in one way unless it is there."""
    from kinoflow.training.fit import Outputs, TrainingData, fit
    from kinoflow.training.lessons import Lesson, unlabelled_set

    run = bench.params(seed).resolve(NAMES[way])
    folder = bench.into / str(seed) / run.name
    if not folder.exists():
        lesson = None
        if run.candidate.teacher:
            more = None
            if way == MORE:
                videos = render(bench.footage, bench.params(seed), OTHERS)
                more = unlabelled_set(bench.footage, videos)
            teachers = {TEACHER: bundle.load(bench.workspace.bundle(TEACHER))}
            lesson = Lesson(teachers, run.candidate.distil, more, str(OTHERS) if more else None)
        outputs = Outputs(folder, None, bench.into / f"{seed}-{run.name}-checkpoints")
        fit(run, TrainingData.of(bench.workspace), outputs, lesson=lesson)
    return bundle.load(folder)


def hits(model: Bundle, side: scoring.Side, name: str) -> NDArray[np.float64]:
    """1 for each clip of a side that a model is right about, else 0: (N,)."""
    answers = scoring.answer(model, side, name).calibrated
    return np.asarray(answers.argmax(axis=1) == side.clips.labels, np.float64)


def difference(
    gains: NDArray[np.float64], groups: NDArray, seed: int = 7
) -> tuple[float, float, float]:
    """The mean gain of clips (N,), and its 95% interval over resampled recordings."""
    which, place = np.unique(groups, return_inverse=True)
    belongs = np.eye(len(which))[place]
    low, high = comparison.intervals(
        belongs.T @ gains[:, None], belongs.sum(axis=0), RESAMPLES, seed
    )
    return float(gains.mean()), float(low[0]), float(high[0])


def side_of(bench: Bench, name: str, params: Params) -> scoring.Side:
    """The clips `val` or `test` of the work tree, or `fresh` ones."""
    table = clips.split_table(bench.workspace)
    labels, sides = scoring.load_sides(bench.workspace, ("val", "test"), table)
    if name in sides:
        return sides[name]
    videos = render(bench.fresh, params, FRESH)
    numbers = np.array([labels.index(video.partition("/")[0]) for video in videos])
    return scoring.Side(ClipSet(bench.fresh.folder, tuple(videos), numbers), np.array(videos))


def measured(bench: Bench, name: str, params: Params) -> pd.DataFrame:
    """A row for the teacher and for each way, scored on a side.

    Students are compared by the seeds that both ways have.
    """
    side = side_of(bench, name, params)
    teacher = bundle.load(bench.workspace.bundle(TEACHER))
    right = {"teacher": {0: hits(teacher, side, name)}}
    sizes = {"teacher": teacher.model.count_params()}
    for way in NAMES:
        models = {seed: train(bench, way, seed) for seed in bench.seeds(way)}
        right[way] = {seed: hits(model, side, name) for seed, model in models.items()}
        for model in models.values():
            sizes[way] = model.model.count_params()
    rows = []
    for way, found in right.items():
        if not found:
            continue
        every = [each.mean() for each in found.values()]
        row = {"way": way, "parameters": sizes[way], "accuracy": np.mean(every)}
        row["seeds"] = " ".join(f"{each:.3f}" for each in every)
        if way != "teacher":
            gains = np.mean([each - right["teacher"][0] for each in found.values()], axis=0)
            row["teacher"] = difference(gains, side.groups)
        if common := found.keys() & right[ALONE].keys() if way in (TAUGHT, MORE) else ():
            gains = np.mean([found[seed] - right[ALONE][seed] for seed in common], axis=0)
            row[ALONE] = difference(gains, side.groups)
        rows.append(row)
    return pd.DataFrame(rows)


# === The page ===


def markdown(table: pd.DataFrame) -> str:
    """The rows of one side."""
    lines = [
        "| | parameters | accuracy | of each seed | to labels alone | to the teacher |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for row in table.to_dict("records"):
        gains = [_signed(row.get(other)) for other in (ALONE, "teacher")]
        lines.append(
            f"| {row['way']} | {row['parameters']:,} | {row['accuracy']:.3f} | {row['seeds']} | "
            f"{' | '.join(gains)} |"
        )
    return "\n".join([*lines, ""])


def _signed(found: Any) -> str:
    if not isinstance(found, tuple):
        return ""
    return "{:+.3f} ({:+.3f} to {:+.3f})".format(*found)


SIDES = {
    "test": "Test clips",
    "fresh": "New recordings",
    "val": "Validation clips",
}


def page(tables: dict[str, pd.DataFrame], params: Params) -> str:
    """benchmarks/distillation.md."""
    epochs, settings = params.training.epochs, params.candidates[NAMES[TAUGHT]].distil
    parts = "\n".join(f"## {SIDES[name]}\n\n{markdown(tables[name])}" for name in SIDES)
    return f"""# What a teacher is worth

`python -m benchmarks.distillation` writes this page. The student is R(2+1)D with the widths
{WIDTHS}, the teacher the candidate `{TEACHER}` of params.yaml, and the data the
embedded ones. All train for {epochs} epochs with the settings of params.yaml; students with a
teacher have a share of {settings.share:g} and a temperature of {settings.temperature:g}. "More
footage" is {RECORDINGS} other recordings of each class, rendered for this, whose labels are not
used. "New recordings" are as many again, which no model has seen.

An accuracy is the mean over seeds. Differences are of the same clips, and of the seeds that both
ways have; the 95% interval is over resampled recordings, and not over seeds. No setting was tuned:
neither the widths nor how the student learns.

{machine.name()}

{parts}"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.distillation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workspace", type=Path, help="a work tree after `dvc repro`")
    parser.add_argument("--into", type=Path, required=True, help="where students are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[*SEEDS])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=[*NAMES], metavar="WAY")
    parser.add_argument("--test", action="store_true", help="train nothing, write the page")
    arguments = parser.parse_args()
    terminal.quiet()
    bench = Bench(Workspace(arguments.workspace), arguments.into)
    params = bench.params(arguments.seeds[0])
    if arguments.test:
        files.write_text(
            PAGE, page({name: measured(bench, name, params) for name in SIDES}, params)
        )
        print(f"wrote {PAGE}")
        return
    for seed, way in itertools.product(arguments.seeds, arguments.only):
        train(bench, way, seed)
    print(markdown(measured(bench, "val", params)))


if __name__ == "__main__":
    errors.run(main)
