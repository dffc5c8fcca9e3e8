"""A pipeline in miniature that has the stages of the real one, for its runner to run."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ruamel.yaml import YAML

from tests.running import PATIENCE

Starter = Callable[[], "subprocess.Popen[str]"]  # of the runner of the pipeline
CANDIDATES = ("lrcn", "convlstm", "c3d")

DVC_YAML = """
stages:
  validate:
    cmd: touch validated
    outs: [validated]
  architectures:
    cmd: mkdir architectures && touch architectures/lrcn architectures/convlstm architectures/c3d
    outs: [architectures]
  restyle:
    cmd: touch restyled
    outs: [restyled]
  evaluate:
    foreach: ${candidates}
    do:
      cmd: python evaluate.py ${key}
      deps: ["models/${key}", "folds/${key}", evaluate.py]
      metrics: ["reports/${key}/metrics.json", "reports/${key}/timing.json"]
  crossvalidate:
    foreach: ${candidates}
    do:
      cmd: mkdir -p folds/${key}
      deps: [validated, "architectures/${key}"]
      outs: ["folds/${key}"]
  train:
    foreach: ${candidates}
    do:
      cmd: python train.py ${key}
      deps: [validated, "architectures/${key}", train.py]
      params: ["candidates.${key}"]
      outs: ["models/${key}"]
  select:
    cmd: cat reports/*/metrics.json > chosen
    deps: [reports]
    outs: [chosen]
"""

# it waits for a file `go-<candidate>` if there is one called `wait`
TRAIN = """
import sys, time
from pathlib import Path
from kinoflow.system import locks
name = sys.argv[1]
with locks.held(Path(f".locks/train-{name}"), "training"):
    with open("trained", "a") as log: print(name, file=log)
    print(f"training {name}", flush=True)
    while Path("wait").exists() and not Path(f"go-{name}").exists():
        time.sleep(0.05)
    if Path(f"fail-{name}").exists():
        sys.exit(f"error: no rate for {name}: set one")
    Path("models", name).mkdir(parents=True)
    Path("models", name, "model.keras").write_text(name)
"""

EVALUATE = """
import sys
from pathlib import Path
from kinoflow.reports.records import Timing
from tests import documents
report = Path("reports", sys.argv[1])
documents.metrics(len(sys.argv[1]) / 10).write(report / "metrics.json")
Timing(latency_ms=3.25, train_seconds=60).write(report / "timing.json")
"""


def set_candidate(repo: Path, name: str, **values: object) -> None:
    params = YAML(typ="safe").load(repo / "params.yaml")
    params["candidates"][name] |= values
    YAML().dump(params, repo / "params.yaml")


def trained(repo: Path) -> list[str]:
    return (repo / "trained").read_text().split() if (repo / "trained").exists() else []


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# a real training in place of the stage train
FITS = """
import sys
from pathlib import Path
from kinoflow import config
from kinoflow.training.fit import Outputs, TrainingData, fit
from tests.training import LABELS, SPEC, moving
name, folder = sys.argv[1], Path("data", sys.argv[1])
data = TrainingData(LABELS, moving(folder, 32, 0), moving(folder, 16, 1), "data", 16)
run = config.load(Path("params.yaml")).resolve(name)
fit(run, data, Outputs(Path("models", name), Path("curves", name), Path("checkpoints", name)))
"""
SMALL = {
    "lrcn": {"model": "lrcn", "options": {"filters": [4], "pools": [4], "units": 4}},
    "c3d": {"model": "c3d", "options": {"filters": [4], "units": 4}},
}
