"""What a student gains by its teacher, beside the same network trained on labels alone.

    python -m benchmarks.distillation WORKTREE --into FOLDER [--seeds 7 8 9] [--test]

The work tree is one in which `dvc repro` has trained the teacher on the embedded data. Students are
trained into FOLDER, as candidates of that work tree would be, once for each seed: on labels alone;
with the teacher; and with the teacher and as many more clips without labels, of recordings that are
rendered for this. What FOLDER already holds is not trained again. Without `--test` only validation
clips are scored: choose settings by these. With it, benchmarks/distillation.md is written.
"""

import argparse
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
from kinoflow.data.clips import ClipStore
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
OTHERS = 1007  # seed of the recordings without labels: none of them is in the embedded data
RECORDINGS = 36  # of each class, with a clip each: as many clips as there are to train on
RESAMPLES = 10_000

ALONE, TAUGHT, MORE = "labels alone", "taught", "taught, and more footage"


@dataclass(frozen=True)
class Bench:
    """Where the benchmark reads and writes."""

    workspace: Workspace
    into: Path

    @property
    def footage(self) -> ClipStore:
        return ClipStore(self.into / "footage")

    def params(self, seed: int) -> Params:
        """params.yaml of the work tree, with the student in all its ways."""
        values = documents.read_yaml(self.workspace.params)
        others = {TEACHER: values["candidates"][TEACHER], NAMES[ALONE]: STUDENT}
        plain, more = {"unlabelled": False}, {"unlabelled": True}
        students = {
            "taught": STUDENT | {"teacher": TEACHER, "distil": plain},
            "more": STUDENT | {"teacher": TEACHER, "distil": more},
        }
        values |= {"seed": seed, "candidates": others, "students": students}
        return config.checked(values, self.workspace.params)


NAMES = {ALONE: "labels-alone", TAUGHT: "taught", MORE: "more"}


def render(bench: Bench, params: Params) -> None:
    """Render and sample recordings that nobody has labelled, once."""
    store = bench.footage
    dataset = params.dataset.model_copy(
        update={
            "synthetic": params.dataset.synthetic.model_copy(
                update={"groups": RECORDINGS, "clips_per_group": 1}
            )
        }
    )
    # without the file that says where the actor is
    items = [item for item in synthetic.items(dataset, OTHERS, bench.into) if "/" in item.name]
    for item in terminal.progress(items, "footage"):
        target = store.path(item.name)
        if not target.exists():
            video = bench.into / "video.avi"
            item.fetch(video)
            target.parent.mkdir(parents=True, exist_ok=True)
            extract_clip(video, params.clip, target)
            video.unlink()


def train(bench: Bench, way: str, seed: int) -> Bundle:
    """The student of one seed, trained in one way unless it is there."""
    from kinoflow.training.fit import Outputs, TrainingData, fit
    from kinoflow.training.lessons import Lesson, unlabelled_set

    run = bench.params(seed).resolve(NAMES[way])
    folder = bench.into / str(seed) / run.name
    if not folder.exists():
        lesson = None
        if run.candidate.teacher:
            store, settings = bench.footage, run.candidate.distil
            names = [path.relative_to(store.folder) for path in store.folder.rglob("*.npy")]
            videos = [name.as_posix().removesuffix(".npy") for name in names]
            more = unlabelled_set(store, videos) if settings.unlabelled else None
            teachers = {TEACHER: bundle.load(bench.workspace.bundle(TEACHER))}
            lesson = Lesson(teachers, settings, more, str(OTHERS) if more else None)
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


def measured(bench: Bench, ways: list[str], seeds: list[int], name: str) -> pd.DataFrame:
    """A row for the teacher and for each way, scored on the side `name`."""
    table = clips.split_table(bench.workspace)
    _, sides = scoring.load_sides(bench.workspace, (name,), table)
    side = sides[name]
    teacher = bundle.load(bench.workspace.bundle(TEACHER))
    right = {"teacher": [hits(teacher, side, name)]}
    sizes = {"teacher": teacher.model.count_params()}
    for way in ways:
        models = [train(bench, way, seed) for seed in seeds]
        right[way] = [hits(model, side, name) for model in models]
        sizes[way] = models[0].model.count_params()
    mean = {way: np.mean(found, axis=0) for way, found in right.items()}
    rows = []
    for way, found in right.items():
        row = {"way": way, "parameters": sizes[way], "side": name, "accuracy": mean[way].mean()}
        row["seeds"] = " ".join(f"{each.mean():.3f}" for each in found)
        for other in (ALONE, "teacher"):
            if other in mean and way not in (other, "teacher"):
                row[other] = difference(mean[way] - mean[other], side.groups)
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


def page(test: pd.DataFrame, val: pd.DataFrame, params: Params) -> str:
    """benchmarks/distillation.md."""
    epochs, settings = params.training.epochs, params.candidates["taught"].distil
    return f"""# What a teacher is worth

`python -m benchmarks.distillation` writes this page. The student is R(2+1)D with the widths
{WIDTHS}, the teacher the candidate `{TEACHER}` of params.yaml, and the data the
embedded ones. All train for {epochs} epochs with the settings of params.yaml; students with a
teacher have a share of {settings.share:g} and a temperature of {settings.temperature:g}. "More
footage" is {RECORDINGS} other recordings of each class, rendered for this, whose labels are not
used. In each difference, answers are compared clip by clip, as the mean over seeds; its 95%
interval is over resampled recordings. Settings were chosen by validation clips alone.

{machine.name()}

## Test clips

{markdown(test)}
## Validation clips

{markdown(val)}"""


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
    parser.add_argument("--test", action="store_true", help="score test clips, write the page")
    arguments = parser.parse_args()
    terminal.quiet()
    bench = Bench(Workspace(arguments.workspace), arguments.into)
    params = bench.params(arguments.seeds[0])
    if MORE in arguments.only:
        render(bench, params)
    val = measured(bench, arguments.only, arguments.seeds, "val")
    print(markdown(val))
    if arguments.test:
        test = measured(bench, arguments.only, arguments.seeds, "test")
        files.write_text(PAGE, page(test, val, params))
        print(f"{markdown(test)}\nwrote {PAGE}")


if __name__ == "__main__":
    errors.run(main)
