"""How far the tests that compare numbers are from their bounds on different processors.

    python -m benchmarks.numerics [--seeds 5] [--settings AVX2 ...]

Processors add up in different orders, so a network learns slightly different numbers on each. This
runs the tests under several instruction sets, thread counts and seeds, and writes
benchmarks/numerics.md: for each test the value that comes closest to its bound, and the bound. It
takes half an hour on two cores.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.repository import REPOSITORY
from benchmarks.settings import SETTINGS, environment
from kinoflow.system import errors, files
from kinoflow.system.errors import UserError

PAGE = Path(__file__).parent / "numerics.md"
# the tests, by file, that compare numbers computed in floating point
FILES = (
    *("models", "training", "layers", "motion", "evaluate", "leaks", "duplicates", "synthetic"),
    *("augment", "metrics", "explore", "bundle", "streaming", "batches", "optimization"),
)
# Words in the names of tests that are left out. Learning by heart is run apart, since many seeds
# can share one compiled model. Less precision cannot run: TensorFlow asks the processor what it can
# do, and then oneDNN, told to act as an older one, refuses bfloat16. The others compare no numbers.
LEFT_OUT = (
    *("by_heart", "less_precision", "killed", "of_keras", "equal", "refused", "page", "divergence"),
)
SHOWN = 0.05  # a test that uses a smaller share of its bound is not listed


def compared(setting: str, seed: int) -> dict[str, Any]:
    """What benchmarks/margins.py finds in one run of the tests."""
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "margins.json"
        subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-n0", "-p", "benchmarks.margins"),
                *("-p", "no:cacheprovider", "-k", f"not ({' or '.join(LEFT_OUT)})"),
                *(f"tests/test_{name}.py" for name in FILES),
            ],
            env=environment(setting) | {"KINOFLOW_MARGINS": str(into), "KINOFLOW_SEED": str(seed)},
            cwd=REPOSITORY.root,
            check=False,
            stdout=sys.stderr,
        )
        found: dict[str, Any] = files.read_json(into)
        return found


def learned(setting: str, seeds: int) -> dict[str, list[int]]:
    """How many steps each model takes to learn its clips by heart, by seed."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.numerics", "--learn", "--seeds", str(seeds)],
        env=environment(setting),
        cwd=REPOSITORY.root,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    steps: dict[str, list[int]] = json.loads(done.stdout.splitlines()[-1])
    return steps


def learn(seeds: int) -> dict[str, list[int]]:
    """The same as `learned`, computed in this process."""
    import keras

    from kinoflow.models import MODELS
    from tests.networks import small_model
    from tests.test_models import by_heart, compiled, losses

    steps: dict[str, list[int]] = {}
    for name in MODELS:
        begun = [small_model(name, seed=seed).get_weights() for seed in range(seeds)]
        model = compiled(small_model(name), name)
        steps[name] = []
        for weights in begun:
            model.set_weights(weights)
            for variable in model.optimizer.variables:
                if variable is not model.optimizer.learning_rate:
                    variable.assign(keras.ops.zeros_like(variable))
            steps[name].append(by_heart(losses(model)))
        print(f"{name}: {steps[name]}", file=sys.stderr, flush=True)
    return steps


def report(results: dict[str, Any]) -> str:
    """The page, as Markdown."""
    from tests.test_models import STEPS

    learning = [f"| model | {' | '.join(results)} | worst of {STEPS} |"]
    learning.append("|---" * (len(results) + 1) + "|---:|")
    for name in next(iter(results.values()))["learned"]:
        each = [found["learned"][name] for found in results.values()]
        cells = [f"{min(steps)} to {max(steps)}" for steps in each]
        learning.append(f"| `{name}` | {' | '.join(cells)} | {max(map(max, each)) / STEPS:.0%} |")

    worst: dict[tuple[str, str], tuple[float, float, float, str]] = {}
    for setting, found in results.items():
        for seed, run in found["compared"].items():
            for test, margins in run["found"].items():
                for what, (value, bound) in margins.items():
                    key = test.partition("::")[2].partition("[")[0], what
                    row = (value / bound, value, bound, f"{setting}, seed {seed}")
                    worst[key] = max(worst.get(key, row), row)
    rows = [
        f"| {test.removeprefix('test_').replace('_', ' ')} | {what} | {value:.2g} | {bound:.2g} "
        f"| {share:.0%} | {where} |"
        for (test, what), (share, value, bound, where) in sorted(
            worst.items(), key=lambda item: -item[1][0]
        )
        if share >= SHOWN
    ]
    failed = sorted(
        {
            f"- {test.partition('::')[2]} ({setting}, seed {seed})"
            for setting, found in results.items()
            for seed, run in found["compared"].items()
            for test in run["failed"]
        }
    )
    runs = "; ".join(
        f"{setting}, seeds {' and '.join(found['compared'])}" for setting, found in results.items()
    )
    seeds = len(next(iter(next(iter(results.values()))["learned"].values())))
    return "\n".join(
        [
            "# How far the tests are from their bounds",
            "",
            "`python -m benchmarks.numerics` runs every test that compares numbers computed in",
            "floating point under the instruction sets, thread counts and seeds below, and writes",
            "this page. A test that comes near its bound would pass on one processor and fail on",
            "another.",
            "",
            machine.name(),
            "",
            "## Learning by heart",
            "",
            f"Steps until the loss is below 0.05, of {STEPS}, from {seeds} beginnings each.",
            "",
            *learning,
            "",
            "## What else is compared",
            "",
            f"The worst of {runs}; what uses less than {SHOWN:.0%} of its bound is not listed.",
            "",
            "| test | what | worst | bound | share | where |",
            "|---|---|---:|---:|---:|---|",
            *rows,
            "",
            f"Failures: {len(failed) or 'none'}.",
            *failed,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="of learning by heart")
    parser.add_argument("--shifts", type=int, default=2, help="seeds of all else")
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS))
    parser.add_argument("--into", type=Path, default=REPOSITORY.work / "numerics.json")
    parser.add_argument("--learn", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.learn:
        print(json.dumps(learn(arguments.seeds)))
        return
    unknown = set(arguments.settings) - SETTINGS.keys()
    if unknown:
        raise UserError(f"no setting {', '.join(unknown)}: there are {', '.join(SETTINGS)}")
    results: dict[str, Any] = files.read_json(arguments.into) if arguments.into.exists() else {}
    for setting in arguments.settings:
        found = results.setdefault(setting, {"compared": {}})
        if "learned" not in found:
            found["learned"] = learned(setting, arguments.seeds)
            files.write_json(arguments.into, results)
        for seed in range(arguments.shifts):
            if str(seed) not in found["compared"]:
                found["compared"][str(seed)] = compared(setting, seed)
                files.write_json(arguments.into, results)
    files.write_text(PAGE, report({name: results[name] for name in arguments.settings}))
    print(f"numerics: {PAGE}")


if __name__ == "__main__":
    errors.run(main)
