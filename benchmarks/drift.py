"""How often monitoring raises a false alarm, and whether it finds what has changed.

    python -m benchmarks.drift [--folder work/drift] [--weeks 200] [--candidates r2plus1d ...]

It needs a trained pipeline of the embedded data. Traffic is made of recordings that the pipeline
has never seen, rendered with another seed. What is measured of their clips is kept in the folder,
so that a second run takes minutes. It writes benchmarks/drift.md.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks import footage, machine
from benchmarks.repository import REPOSITORY
from kinoflow import bundle, config
from kinoflow.data import tables
from kinoflow.data.clips import ClipStore
from kinoflow.monitor import comparing, inputs, reference
from kinoflow.monitor.answers import Answers, HeldOut
from kinoflow.monitor.reference import Clip
from kinoflow.system import errors, files, terminal
from kinoflow.video import ClipSpec, sample
from kinoflow.video.spec import Frames
from kinoflow.workspace import Workspace
from stages.sources import synthetic
from stages.sources.synthetic import CLASSES, FPS, SyntheticVideo

SEED = 1001  # of the recordings that traffic comes from
GROUPS = 50  # recordings of each class
CHANGED = 20  # of them that are also rendered dark, and at half the frame rate
CLIPS = 3  # of a recording
UNSEEN = "StandUp"
SHARES = (1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 6)  # of a day's answers that show the unseen class
_EPOCHS = 10  # of the models that do not know one class

Rows = NDArray[np.int64]


def dark(frames: Frames) -> tuple[Frames, float]:
    """A film that is darker by 40%, and its frame rate."""
    return np.round(frames * 0.6).astype(np.uint8), FPS


def half(frames: Frames) -> tuple[Frames, float]:
    """A film with every second frame, at half the frame rate."""
    return frames[::2], FPS / 2


VARIANTS: Mapping[str, Callable[[Frames], tuple[Frames, float]]] = {
    "plain": lambda frames: (frames, FPS),
    "dark": dark,
    "half": half,
}


@dataclass(frozen=True)
class Pool:
    """What a model answers to clips that it has never seen.

    Args:
        answers: of N clips.
        variant: (N,), a name in `VARIANTS`.
    """

    answers: HeldOut
    variant: NDArray[np.str_]

    def rows(self, variant: str, truth: Callable[[str], bool] = lambda _: True) -> Rows:
        """The clips of a variant that show certain classes."""
        wanted = np.array([truth(str(each)) for each in self.answers.truth])
        return np.flatnonzero((self.variant == variant) & wanted)

    def by_recording(self, rows: Rows) -> list[Rows]:
        recordings = self.answers.recording[rows]
        return [rows[recordings == name] for name in np.unique(recordings)]


# === What is measured ===


def films(folder: Path, spec: ClipSpec, width: int, height: int) -> Iterator[Path]:
    """Render the recordings; a file for each group number, with clips and what was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    for group in range(1, GROUPS + 1):
        target = folder / f"{SEED}_{group}.npz"
        if not target.exists():
            _render(target, group, spec, width, height)
        yield target


def _render(target: Path, group: int, spec: ClipSpec, width: int, height: int) -> None:
    clips, numbers, rows = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.avi"
        for label in range(len(CLASSES)):
            for number in range(1, CLIPS + 1):
                video = SyntheticVideo(SEED, label, group, number, width, height)
                frames = synthetic.render(video)
                for index, change in enumerate(VARIANTS.values()):
                    if index and group > CHANGED:
                        continue
                    footage.write(path, *change(frames))
                    clips.append(sample(path, spec))
                    look, header = inputs.look(clips[-1]), inputs.header(path)
                    numbers.append(inputs.numbers(look, header))
                    rows.append((index, label, group, number))
    with files.replacing(target) as partly, partly.open("wb") as file:
        np.savez(file, clips=np.array(clips), numbers=np.array(numbers), rows=np.array(rows))


def answered(films_: Sequence[Path], folder: Path, target: Path) -> Pool:
    """What the bundle in `folder` answers to all films; kept in the file `target`."""
    names = [each.name for each in fields(HeldOut)]
    if not target.exists():
        ask = partial(_answers, bundle.load(folder))
        parts = [ask(path) for path in films_]
        arrays = {
            name: np.concatenate([getattr(part.answers, name) for part in parts]) for name in names
        }
        variant = np.concatenate([part.variant for part in parts])
        target.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(target) as partly, partly.open("wb") as file:
            np.savez(file, allow_pickle=False, variant=variant, **arrays)
    with np.load(target) as found:
        return Pool(HeldOut(**{name: found[name] for name in names}), found["variant"])


def _answers(model: bundle.Bundle, path: Path) -> Pool:
    with np.load(path) as film:
        clips, numbers, rows = film["clips"], film["numbers"], film["rows"]
    named = [
        Clip(Path(str(index)), CLASSES[label][0], f"{CLASSES[label][0]} {group}")
        for index, (_, label, group, _) in enumerate(rows)
    ]
    made = reference.make(model, named, lambda clip: clips[int(clip.video.name)])
    answers = HeldOut(
        **{each.name: getattr(made, each.name) for each in fields(HeldOut)}
        | {"numbers": numbers, "codec": np.full(len(rows), "mpeg4")}
    )
    return Pool(answers, np.array([*VARIANTS])[rows[:, 0]])


def held_out(tree: Workspace, folder: Path, known: Callable[[str], bool]) -> HeldOut:
    """What the bundle in `folder` answers to a pipeline's clips of val and test."""
    split = tables.read(tree.split, tables.SPLIT)
    rows = split[split["split"] != "train"].merge(
        tables.read(tree.catalog, tables.CATALOG)[["video", "label"]], on="video"
    )
    rows = rows[[known(label) for label in rows["label"]]]
    store = ClipStore(tree.clips)
    columns = [rows[name].tolist() for name in ("video", "label", "group")]
    clips = [Clip(tree.data / video, *about) for video, *about in zip(*columns, strict=True)]
    videos = dict(zip([clip.video for clip in clips], columns[0], strict=True))
    return reference.make(bundle.load(folder), clips, lambda clip: store.read(videos[clip.video]))


def without_a_class(tree: Workspace, folder: Path, candidates: Sequence[str]) -> Path:
    """Train candidates that do not know `UNSEEN`, in a work tree of their own; its models/."""
    own = Workspace(folder)
    if not own.split.exists():

        def unwanted(at: str, names: list[str]) -> list[str]:
            # what this benchmark keeps may lie in the very folder that is copied
            within = [name for name in names if (Path(at) / name).resolve() in around]
            return [*within, *({"checkpoints"} & {*names})]

        around = {own.root.resolve(), *own.root.resolve().parents} - {tree.work.resolve()}
        shutil.copytree(tree.work, own.work, ignore=unwanted)
        own.models.mkdir()
        values = config.load(tree.params).model_dump(mode="json")
        for name in candidates:
            values["candidates"][name]["training"]["epochs"] = _EPOCHS
        files.write_json(own.params, values)  # all JSON is YAML
        split = tables.read(own.split, tables.SPLIT)
        labels = tables.read(own.catalog, tables.CATALOG).set_index("video")["label"]
        kept = split[split["video"].map(labels) != UNSEEN]
        tables.write(pd.DataFrame(kept), own.split, tables.SPLIT)
    for name in candidates:
        if not own.bundle(name).exists():
            command = [sys.executable, "-m", "stages.train", name]
            subprocess.run(command, cwd=folder, check=True)
    return own.models


# === What is simulated ===


def traffic(clips: Sequence[Rows], count: int, burst: int, rng: np.random.Generator) -> Rows:
    """So many answers, of recordings drawn at random, from 1 to `burst` clips of each in a row."""
    drawn: list[int] = []
    while len(drawn) < count:
        chosen = clips[int(rng.integers(len(clips)))]
        some = int(rng.integers(1, burst + 1))
        drawn += rng.permutation(chosen)[:some].tolist()
    return np.array(drawn[:count])


@dataclass
class FalseAlarms:
    """What many weeks without any change gave."""

    weeks: int = 0
    looks: int = 0
    weeks_with: int = 0
    looks_with: int = 0


def undrifted(
    packed: HeldOut | None, pool: Pool, weeks: int, burst: int, section: config.Monitor
) -> FalseAlarms:
    """Weeks of daily looks at traffic that has not changed.

    Args:
        packed: the reference; None: for each week, 8 recordings of each class are drawn from the
            pool, and its traffic comes from the others.
        pool: where traffic comes from.
        weeks: how many.
        burst: clips of a recording that come in a row, at most.
        section: how looks are made.
    """
    rng = np.random.default_rng(burst)
    found = FalseAlarms()
    plain = pool.by_recording(pool.rows("plain"))
    truth = np.array([pool.answers.truth[rows[0]] for rows in plain])
    for _ in range(weeks):
        against, clips = packed, plain
        if against is None:
            drawn = np.concatenate(
                [
                    rng.choice(np.flatnonzero(truth == name), 8, replace=False)
                    for name in np.unique(truth)
                ]
            )
            against = pool.answers[np.concatenate([plain[index] for index in drawn])]
            clips = [rows for index, rows in enumerate(plain) if index not in set(drawn.tolist())]
        days = [
            pool.answers[traffic(clips, section.answers, burst, rng)]
            for _ in range(comparing.LOOKS_PER_WEEK)
        ]
        alarms = [bool(_changed(against, day, section, rng)) for day in days]
        found.weeks += 1
        found.looks += len(alarms)
        found.weeks_with += any(alarms)
        found.looks_with += sum(alarms)
    return found


def found_in(
    against: HeldOut, day: Callable[[], Answers], days: int, section: config.Monitor
) -> tuple[int, Counter[str]]:
    """In how many days of changed traffic an alarm is raised, and how often by what."""
    rng = np.random.default_rng(0)
    alarms, why = 0, Counter[str]()
    for _ in range(days):
        changed = _changed(against, day(), section, rng)
        alarms += bool(changed)
        why.update(changed)
    return alarms, why


def _changed(
    against: HeldOut, day: Answers, section: config.Monitor, rng: np.random.Generator
) -> list[str]:
    compared = comparing.compare(
        against,
        day,
        false_alarms=section.false_alarms,
        draws=section.permutations,
        others=1,
        seed=int(rng.integers(2**31)),
    )
    return [each.name for each in compared if each.changed]


# === What is written ===


def percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f}% ({count:,} of {total:,})"


def page(alarms: Sequence[Sequence[str]], detection: Sequence[Sequence[str]], weeks: int) -> str:
    """The page as Markdown."""
    return f"""# Monitoring: false alarms and detection

`python -m benchmarks.drift` writes this page. The embedded data's pipeline is what is monitored:
48 recordings of val and test with 144 clips are its reference. Traffic comes from {GROUPS}
recordings of each class that were rendered with another seed, {CLIPS} clips of each. A look
compares the newest 200 answers, at `monitor.false_alarms: 0.05`.

{machine.name()}

## False alarms

{weeks} weeks of seven daily looks at traffic that has not changed, for each row. In a row, up to so
many clips of one recording come one after the other. "Drawn" references are 48 recordings that are
drawn anew for each week from the same ones as its traffic, which comes from the others.

{
        _table(
            (
                "model",
                "reference",
                "clips in a row",
                "weeks with an alarm",
                "looks with an alarm",
            ),
            alarms,
        )
    }

## Detection

{weeks} days of 200 answers for each row. The models that do not know {UNSEEN} were trained for
{_EPOCHS} epochs without its clips; it is {_twin()} played backwards, so that no single frame tells
the two apart. What raised the alarm is in brackets, by the percentage of days.

{_table(("model", "traffic", "days with an alarm"), detection)}
"""


def _twin() -> str:
    names = [name for name, _, _ in CLASSES]
    return names[names.index(UNSEEN) ^ 1]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [" | ".join(columns), "|".join("---" for _ in columns), *map(" | ".join, rows)]
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument("--tree", type=Path, default=REPOSITORY.root, help="the trained pipeline")
    parser.add_argument("--folder", type=Path, default=Path("work/drift"), help="what is kept")
    parser.add_argument("--weeks", type=int, default=200)
    parser.add_argument("--candidates", nargs="+", default=["r2plus1d", "motion_histograms"])
    arguments = parser.parse_args()
    terminal.quiet()
    tree, folder, weeks = Workspace(arguments.tree), arguments.folder, arguments.weeks
    params = config.load(tree.params)
    section, size = params.monitor, params.dataset.synthetic
    rendered = [*films(folder / "films", params.clip, size.width, size.height)]
    models = without_a_class(tree, folder / "without", arguments.candidates)
    alarms, detection = [], []
    for name in arguments.candidates:
        packed = held_out(tree, tree.bundle(name), lambda _: True)
        pool = answered(rendered, tree.bundle(name), folder / f"{name}.npz")
        for against, about, burst in ((packed, "val and test", 1), (packed, "val and test", CLIPS),
                                      (None, "drawn", CLIPS)):  # fmt: skip
            kept = folder / f"{name}-{about}-{burst}-{weeks}.json"
            rows = partial(_false_alarms, name, about, against, pool, weeks, burst, section)
            alarms += _kept(kept, rows)
        kept = folder / f"{name}-detection-{weeks}.json"
        detection += _kept(
            kept,
            partial(_detection, name, packed, pool, tree, models, rendered, folder, weeks, section),
        )
    target = REPOSITORY.root / "benchmarks" / "drift.md"
    files.write_text(target, page(alarms, detection, weeks))


def _kept(path: Path, measure: Callable[[], list[list[str]]]) -> list[list[str]]:
    """Rows of the page, which take long to measure; kept in a file."""
    if not path.exists():
        files.write_json(path, measure())
    rows: list[list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def _false_alarms(
    name: str,
    about: str,
    against: HeldOut | None,
    pool: Pool,
    weeks: int,
    burst: int,
    section: config.Monitor,
) -> list[list[str]]:
    found = undrifted(against, pool, weeks, burst, section)
    row = [
        *(f"`{name}`", about, str(burst)),
        percent(found.weeks_with, found.weeks),
        percent(found.looks_with, found.looks),
    ]
    print("undrifted", *row, flush=True)
    return [row]


def _detection(
    name: str,
    packed: HeldOut,
    pool: Pool,
    tree: Workspace,
    models: Path,
    rendered: Sequence[Path],
    folder: Path,
    weeks: int,
    section: config.Monitor,
) -> list[list[str]]:
    partial_pool = answered(rendered, models / name, folder / f"{name}-without.npz")
    partly = held_out(tree, models / name, lambda label: label != UNSEEN)
    rng, rows = np.random.default_rng(1), []
    for what, model, against, day in days(pool, packed, partial_pool, partly, section, rng):
        count, why = found_in(against, day, weeks, section)
        by = ", ".join(f"{each} {100 * n / weeks:.0f}" for each, n in why.most_common(4))
        rows.append([model.format(name), what, f"{percent(count, weeks)} ({by})"])
        print("detection", *rows[-1], flush=True)
    return rows


def days(
    pool: Pool,
    packed: HeldOut,
    partial_pool: Pool,
    partly: HeldOut,
    section: config.Monitor,
    rng: np.random.Generator,
) -> Iterator[tuple[str, str, HeldOut, Callable[[], Answers]]]:
    """What is changed, the model, its reference, and what draws a day of such traffic.

    Args:
        pool: the answers of the model that knows all classes, `packed` its reference.
        packed: see there.
        partial_pool: those of the model that does not know `UNSEEN`, `partly` its reference.
        partly: see there.
        section: how many answers a day has.
        rng: draws.
    """
    count = section.answers
    for variant, what in (("dark", "darker by 40%"), ("half", "half the frame rate")):
        clips = pool.by_recording(pool.rows(variant))
        yield (
            what,
            "`{}`",
            packed,
            lambda clips=clips: pool.answers[traffic(clips, count, 1, rng)],  # type: ignore[misc]
        )
    known = partial_pool.by_recording(partial_pool.rows("plain", lambda label: label != UNSEEN))
    new = partial_pool.by_recording(partial_pool.rows("plain", lambda label: label == UNSEEN))

    def mixed(share: float) -> Answers:
        unseen = traffic(new, max(1, round(count * share)), 1, rng)
        rest = traffic(known, count - len(unseen), 1, rng)
        both = np.concatenate([unseen, rest]).astype(np.int64)
        return partial_pool.answers[rng.permutation(both)]

    for share in SHARES:
        what = f"{UNSEEN}, which it does not know, in {100 * share:.0f}% of answers"
        yield what, f"`{{}}` without {UNSEEN}", partly, partial(mixed, share)


if __name__ == "__main__":
    errors.run(main)
