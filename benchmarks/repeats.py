"""How repeatable training is: in one setting, and under others.

    python -m benchmarks.repeats motion_histograms lrcn

Trains and evaluates candidates of params.yaml on what `make repro` left in work/: twice in the
first of the settings, and once in each of the others or in those named by `--settings`. Writes
benchmarks/repeats.md. What the file `--into` already holds is not run again.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.repository import REPOSITORY
from benchmarks.settings import SETTINGS, environment
from kinoflow.data import tables
from kinoflow.system import errors, files
from kinoflow.workspace import Workspace

# what training and evaluation read in a work tree, besides params.yaml
READ = (
    REPOSITORY.catalog,
    REPOSITORY.split,
    REPOSITORY.clips,
    REPOSITORY.clips_table,
    REPOSITORY.validation,
)
PAGE = Path(__file__).parent / "repeats.md"
AGAIN = " again"

# by candidate, then by setting
Results = dict[str, dict[str, dict[str, Any]]]


def measured(candidate: str, setting: str) -> dict[str, Any]:
    """Hashes of the bundle's files, the test clips' answers and the scores."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = Workspace(Path(temporary))
        shutil.copy(REPOSITORY.params, copy.params)
        copy.work.mkdir()
        for path in READ:
            (copy.root / path.relative_to(REPOSITORY.root)).symlink_to(path)
        for stage in ("train", "evaluate"):
            done = subprocess.run(
                [sys.executable, "-m", f"stages.{stage}", candidate],
                cwd=copy.root,
                env=environment(setting) | {"PYTHONPATH": str(REPOSITORY.root)},
                check=False,
            )
            if done.returncode:
                raise errors.UserError(f"stages.{stage} {candidate} failed ({setting}): see above")
        bundle, report = copy.bundle(candidate), copy.report(candidate)
        scores = files.read_json(report / "metrics.json")
        table = tables.read(report / "predictions.csv", tables.PREDICTIONS)
        return {
            "bundle": {path.name: files.md5(path) for path in sorted(bundle.iterdir())},
            "report": {path.name: files.md5(path) for path in sorted(report.iterdir())},
            "answers": table.filter(regex="^p_").to_numpy().tolist(),
            "accuracy": [scores[side]["accuracy"] for side in ("val", "test")],
        }


def report(results: Results) -> str:
    """The page, as Markdown; everything is compared with the first setting."""
    first = next(iter(SETTINGS))
    lines = [
        "# How repeatable training is",
        "",
        "`python -m benchmarks.repeats` trains candidates on the embedded data under different",
        "thread counts and instruction sets. Each row is compared with the first of its candidate:",
        "one thread, with all instructions of the processor.",
        "",
        machine.name(),
        "",
        "| candidate | setting | bundle | test answers that change | probability, at most "
        "(median) | val accuracy | test accuracy |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for candidate, found in results.items():
        one = found[first]
        for setting, other in found.items():
            before, after = np.array(one["answers"]), np.array(other["answers"])
            apart = abs(after - before)
            changed = int((after.argmax(axis=1) != before.argmax(axis=1)).sum())
            val, test = other["accuracy"]
            equal = "the same bytes" if one["bundle"] == other["bundle"] else "other bytes"
            lines.append(
                f"| `{candidate}` | {setting} | {equal if setting != first else ''} "
                f"| {changed} of {len(after)} | {apart.max():.2g} ({np.median(apart):.2g}) "
                f"| {val:.3f} | {test:.3f} |"
            )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("candidates", nargs="+")
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS))
    parser.add_argument("--into", type=Path, default=REPOSITORY.work / "repeats.json")
    arguments = parser.parse_args()
    if missing := [path for path in READ if not path.exists()]:
        raise errors.UserError(f"{missing[0]} is missing: run `make repro` first")
    results: Results = files.read_json(arguments.into) if arguments.into.exists() else {}
    first = next(iter(SETTINGS))
    for candidate in arguments.candidates:
        found = results.setdefault(candidate, {})
        for setting in (first, first + AGAIN, *arguments.settings):
            if setting not in found:
                found[setting] = measured(candidate, setting.removesuffix(AGAIN))
                files.write_json(arguments.into, results)
    files.write_text(PAGE, report(results))
    print(f"repeats: {PAGE}")


if __name__ == "__main__":
    errors.run(main)
