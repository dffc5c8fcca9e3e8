"""What a step of training costs, for every architecture: before and now, and in PyTorch.

    python -m benchmarks.training [--before COMMIT] [--torch PYTHON]

Each measurement is a process of its own. Those that are compared with each other take turns, so
that other load on the machine slows all of them alike. Results are kept in work/training.json: a
benchmark that was stopped goes on from there.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.repository import REPOSITORY
from benchmarks.training_keras import Job
from kinoflow import config
from kinoflow.models import registry
from kinoflow.system import errors, files, terminal
from kinoflow.system.documents import read_yaml

PAGE = REPOSITORY.root / "benchmarks" / "training.md"
BEFORE = "68b38ca"  # the last commit in which models were made of plain Keras layers
IN_TORCH = ("r3d", "r2plus1d", "lrcn")
READING = ("frame_voting", "lrcn", "motion_histograms", "r2plus1d")
FRAMES = 16  # of an architecture that is no candidate in params.yaml

Results = dict[str, dict[str, Any]]


def candidate(model: str) -> dict[str, Any]:
    """An architecture's frames and size: those that it has in params.yaml, if it is there."""
    params = config.load(REPOSITORY.params)
    for each in params.candidates.values():
        if each.model == model and not each.options:
            found = each.model_dump(include={"model", "frames", "height", "width"})
            return found | {"frames": each.frames or params.clip.frames}
    return {"model": model, "frames": FRAMES}


# === Measuring ===


@dataclasses.dataclass(frozen=True)
class Measuring:
    """How long and how often to measure, and with what."""

    folder: Path  # for files between processes
    before: Path  # a checkout of the commit that is compared with
    torch: str | None  # a Python that has PyTorch
    rounds: int
    seconds: float
    steps: int

    def keras(self, checkout: Path, model: str) -> dict[str, Any]:
        """Steps of one architecture by one checkout's code."""
        return self._keras(checkout, model, seconds=self.seconds, steps=self.steps)

    def weights(self, model: str) -> Path:
        """A file with random weights for an architecture, clips, and its answers to them."""
        path = self.folder / f"{model}.npz"
        if not path.exists():
            self._keras(REPOSITORY.root, model, weights=str(path))
        return path

    def pytorch(self, model: str, *, channels_last: bool) -> dict[str, Any]:
        """Steps of the same network in PyTorch."""
        assert self.torch is not None
        job = {
            "model": model,
            "training": read_yaml(REPOSITORY.params)["training"],
            "weights": str(self.weights(model)),
            "channels_last": channels_last,
            "threads": len(os.sched_getaffinity(0)),
            "seconds": self.seconds,
            "steps": self.steps,
        }
        result = _run([self.torch, _script("training_torch"), json.dumps(job)], os.environ.copy())
        found: dict[str, Any] = json.loads(result)
        if found["apart"] > 1e-4:
            raise RuntimeError(f"PyTorch's {model} answers otherwise, by {found['apart']:.2g}")
        return found

    def _keras(self, checkout: Path, model: str, **settings: Any) -> Any:
        values = read_yaml(REPOSITORY.params)
        common = {section: values[section] for section in ("clip", "training")}
        job = Job(candidate=candidate(model), common=common, **settings)
        command = [sys.executable, "-P", _script("training_keras")]
        # this folder's modules come before those of the environment
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        result = _run([*command, json.dumps(dataclasses.asdict(job))], environment)
        return json.loads(result) if result else None


def _script(name: str) -> str:
    return str(Path(__file__).with_name(f"{name}.py"))


def _run(command: list[str], environment: dict[str, str]) -> str:
    """The last line that a program prints."""
    done = subprocess.run(
        command, cwd=REPOSITORY.root, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} failed:\n{done.stderr[-3000:]}")
    return (done.stdout.splitlines() or [""])[-1]


def architecture(model: str, measuring: Measuring) -> dict[str, Any]:
    """All measurements of one architecture, in turns."""
    ways = {
        "before": lambda: measuring.keras(measuring.before, model),
        "now": lambda: measuring.keras(REPOSITORY.root, model),
    }
    if model in IN_TORCH and measuring.torch:
        ways["torch"] = lambda: measuring.pytorch(model, channels_last=False)
        ways["torch, channels last"] = lambda: measuring.pytorch(model, channels_last=True)
    found: dict[str, list[Any]] = {way: [] for way in ways}
    for _ in range(measuring.rounds):
        for way, measure in ways.items():
            found[way].append(measure())
    return found


def reading(name: str, rounds: int) -> Any:
    """Seconds of epochs of a candidate, from the clip store and from memory."""
    module = [sys.executable, "-m", "benchmarks.training_reading", name]
    return json.loads(_run([*module, "--rounds", str(rounds), "--json"], os.environ.copy()))


def checkout(commit: str, folder: Path) -> Path:
    """The files of a commit, in a folder."""
    archive = subprocess.run(
        ["git", "archive", commit], cwd=REPOSITORY.root, capture_output=True, check=False
    )
    if archive.returncode:
        raise errors.UserError(f"no commit {commit} here: git fetch --unshallow brings all of them")
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


def with_torch(python: str | None) -> str | None:
    """A Python that imports PyTorch and NumPy: the given one, or else this one; None if not."""
    wanted = python or sys.executable
    tried = subprocess.run([wanted, "-c", "import numpy, torch"], capture_output=True, check=False)
    if tried.returncode and python:
        raise errors.UserError(f"{python} does not import torch and numpy")
    return None if tried.returncode else wanted


# === The page ===


def steps(runs: list[dict[str, Any]], what: int) -> list[float]:
    """Seconds of all steps of some runs: wall (0) or processor (1)."""
    return [step[what] for run in runs for step in run["steps"]]


def page(results: Results, before: str) -> str:
    """All tables, as Markdown."""
    stepping = [_row(model, found) for model, found in results.items() if model in registry.MODULES]
    comparing = [
        row for model in IN_TORCH if model in results for row in _torch_rows(model, results[model])
    ]
    read = [_reading_row(name, found) for name, found in results.get("reading", {}).items()]
    return "\n".join(
        [
            "# What a step of training costs",
            "",
            "`python -m benchmarks.training` measures it on the machine at hand and writes this",
            "page. A step is one of `kinoflow.training`: 16 clips of noise, the optimizer, moving",
            "averages and metrics, with TensorFlow's deterministic operations. Each measurement",
            "is a process of its own, and those that are compared take turns.",
            "",
            machine.name(),
            "",
            "## Every architecture",
            "",
            f"Before: commit {before}, of Keras' own layers. Milliseconds are medians over all",
            "steps, processor seconds the least that a step took, of all cores together, and the",
            "ratio is that of the latter. The first step includes compilation. Memory is the",
            "process's peak.",
            "",
            "| | ms a step | now | processor s a step | now | ratio | first step, s | now "
            "| memory, MB | now |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
            *stepping,
            "",
            "## The same networks in PyTorch",
            "",
            *([*_TORCH, *comparing] if comparing else ["PyTorch was not there to compare with."]),
            "",
            "## Reading batches",
            "",
            "Steps a second of whole epochs from the clip store, augmented, as a share of those",
            "from the same number of augmented clips in memory, both in turns; medians.",
            "",
            "| | steps/s from the store | from memory | share | processor s a step | from memory |",
            "|---|---:|---:|---:|---:|---:|",
            *read,
            "",
        ]
    )


_TORCH = [
    "Equal in layers, weights and, to 1e-4, in answers; the same optimizer, loss, averages and",
    "number of threads; PyTorch without compilation. Times Keras: Keras' figure by PyTorch's.",
    "",
    "| | ms a step | processor s a step | first step, s | memory, MB | times Keras, ms "
    "| times Keras, processor |",
    "|---|---:|---:|---:|---:|---:|---:|",
]


def _row(model: str, found: dict[str, Any]) -> str:
    both = found["before"], found["now"]
    walls = [f"{1000 * statistics.median(steps(runs, 0)):.0f}" for runs in both]
    processors = [min(steps(runs, 1)) for runs in both]
    first = [f"{min(run['first'][0] for run in runs):.1f}" for runs in both]
    memory = [f"{max(run['megabytes'] for run in runs):.0f}" for runs in both]
    cells = [
        *walls,
        *(f"{each:.3f}" for each in processors),
        f"{processors[1] / processors[0]:.2f}",
        *first,
        *memory,
    ]
    return f"| `{model}` | {' | '.join(cells)} |"


def _torch_rows(model: str, found: dict[str, Any]) -> list[str]:
    rows = []
    own = statistics.median(steps(found["now"], 0)), min(steps(found["now"], 1))
    for way, runs in found.items():
        if way != "before" and (way == "now" or "torch" in way):
            wall, processor = statistics.median(steps(runs, 0)), min(steps(runs, 1))
            times = f"{own[0] / wall:.2f} | {own[1] / processor:.2f}" if way != "now" else " | "
            rows.append(
                f"| `{model}`, {'Keras' if way == 'now' else way.replace('torch', 'PyTorch')} "
                f"| {1000 * wall:.0f} | {processor:.3f} "
                f"| {min(run['first'][0] for run in runs):.1f} "
                f"| {max(run['megabytes'] for run in runs):.0f} | {times} |"
            )
    return rows


def _reading_row(name: str, found: dict[str, list[list[float]]]) -> str:
    from benchmarks.training_reading import CLIPS

    count = CLIPS / config.load(REPOSITORY.params).resolve(name).training.batch_size
    store, memory = (
        [statistics.median(each) / count for each in zip(*found[source], strict=True)]
        for source in ("store", "memory")
    )
    return (
        f"| `{name}` | {1 / store[0]:.2f} | {1 / memory[0]:.2f} | {memory[0] / store[0]:.3f} "
        f"| {store[1]:.3f} | {memory[1]:.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--before", default=BEFORE, metavar="COMMIT", help="to compare with")
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has PyTorch and NumPy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of steps, in each process")
    parser.add_argument("--steps", type=int, default=4, help="at least, in each process")
    parser.add_argument("--architectures", nargs="*", default=list(registry.MODULES))
    parser.add_argument("--reading", nargs="*", default=list(READING), help="candidates")
    parser.add_argument("--into", type=Path, default=REPOSITORY.work / "training.json")
    arguments = parser.parse_args()
    for name in arguments.architectures:
        registry.check(name)
    python = with_torch(arguments.torch)
    if python is None:
        print("training: no PyTorch here, so nothing is compared with it: see --torch")
    results: Results = files.read_json(arguments.into) if arguments.into.exists() else {}
    compared = results.setdefault("compared with", {"commit": arguments.before})["commit"]
    if compared != arguments.before:
        raise errors.UserError(f"{arguments.into} compares with {compared}: delete it, or name it")
    with tempfile.TemporaryDirectory() as name:
        measuring = Measuring(
            folder=Path(name),
            before=checkout(arguments.before, Path(name) / "before"),
            torch=python,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            steps=arguments.steps,
        )
        for model in arguments.architectures:
            if model not in results:
                results[model] = architecture(model, measuring)
                files.write_json(arguments.into, results)
                print(_row(model, results[model]), flush=True)
    read = results.setdefault("reading", {})
    for name in arguments.reading:
        if name not in read:
            read[name] = reading(name, arguments.rounds)
            files.write_json(arguments.into, results)
            print(_reading_row(name, read[name]), flush=True)
    files.write_text(PAGE, page(results, arguments.before))
    print(f"training: {PAGE}")


if __name__ == "__main__":
    terminal.quiet()
    errors.run(main)
