"""A pipeline in miniature for kills: what it makes follows from its data and seed alone.

Downloading, DVC, the flow and the promotion are the real ones. A training takes several steps, each
from the checkpoint before it, and the "model" is a hash that depends on all of them.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from kinoflow.reports.decision import Decision
from kinoflow.workspace import Workspace
from tests.conftest import ROOT

CANDIDATES = ("lrcn", "convlstm")
STEPS = 6

DVC_YAML = """
stages:
  catalog:
    cmd: python steps.py catalog
    deps: [data, steps.py]
    params: [seed]
    outs: [work/catalog.csv]
  train:
    foreach: ${candidates}
    do:
      cmd: python steps.py train ${key}
      deps: [work/catalog.csv, steps.py]
      params: ["candidates.${key}"]
      outs: ["models/${key}"]
  evaluate:
    foreach: ${candidates}
    do:
      cmd: python steps.py evaluate ${key}
      deps: ["models/${key}", steps.py]
      outs: ["reports/${key}/predictions.csv"]
      metrics: ["reports/${key}/metrics.json", "reports/${key}/timing.json"]
  select:
    cmd: python steps.py select
    deps: [reports/lrcn, reports/convlstm, steps.py]
    outs: [reports/winner.json]
  package:
    cmd: python steps.py package
    deps: [reports/winner.json, models, steps.py]
    outs: [dist/kinoflow.bento]
  report:
    cmd: python steps.py report
    deps: [reports/winner.json, reports/decision.json, steps.py]
    outs: [reports/index.html]
"""

STEPS_PY = r"""
import hashlib, io, json, sys, tarfile, time
from pathlib import Path
from kinoflow.system import files, locks

STEPS = 6

def digest(*parts):
    return hashlib.md5("|".join(parts).encode()).hexdigest()

def accuracy(model):
    return round(0.5 + int(model[:4], 16) / 0x20000, 4)

def catalog():
    seed = next(line for line in open("params.yaml") if line.startswith("seed:"))
    held = [digest(path.read_bytes().hex()) for path in sorted(Path("data").rglob("*.avi"))]
    files.write_text(Path("work/catalog.csv"), digest(seed.strip(), *held))

def train(name):
    with locks.held(Path(f".locks/train-{name}"), "training"):
        checkpoint = Path("work/checkpoints", name, "step.json")
        begin = digest(Path("work/catalog.csv").read_text(), name)
        state = {"begin": begin, "step": 0, "weights": begin}
        if checkpoint.exists() and (last := files.read_json(checkpoint))["begin"] == begin:
            state = last
            print("goes on after step", state["step"], flush=True)
        while state["step"] < STEPS:
            time.sleep(0.05)
            state["step"] += 1
            state["weights"] = digest(state["weights"], str(state["step"]))
            files.write_json(checkpoint, state)
            print("step", state["step"], flush=True)
        with files.replacing_folder(Path("models", name)) as folder:
            for part in ("model.keras", "bundle.json", "history.csv"):
                (folder / part).write_text(state["weights"])
                time.sleep(0.02)

def evaluate(name):
    from kinoflow.reports.records import Timing
    from tests import documents
    model = Path("models", name, "model.keras").read_text()
    report = Path("reports", name)
    documents.metrics(accuracy(model)).write(report / "metrics.json")
    Timing(latency_ms=3.25, train_seconds=60).write(report / "timing.json")
    files.write_text(report / "predictions.csv", model)

def select():
    from tests import documents
    found = Path("reports").glob("*/predictions.csv")
    scores = {path.parent.name: accuracy(path.read_text()) for path in found}
    best = max(scores, key=scores.get)
    documents.winner(best, f"{best} has {scores[best]}").write(Path("reports/winner.json"))

def package():
    name = json.loads(Path("reports/winner.json").read_text())["winner"]
    model = Path("models", name, "model.keras").read_text()
    with locks.held(Path(".locks/dist"), "packaging"):
        files.sweep(Path("dist"))
        with files.replacing(Path("dist/kinoflow.bento")) as partial:
            with tarfile.open(partial, "w:xz") as archive:
                held = {"bento.yaml": f"version: '{model[:12]}'\n", "src/bundle/model.keras": model}
                for path, text in held.items():
                    entry = tarfile.TarInfo(f"./{path}")
                    entry.size = len(text)
                    archive.addfile(entry, io.BytesIO(text.encode()))
                    time.sleep(0.05)

def report():
    decision = Path("reports/decision.json").read_text()
    files.write_text(Path("reports/index.html"), Path("reports/winner.json").read_text() + decision)

if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
"""

CHALLENGE = """
import tarfile, time
from pathlib import Path
import steps
from kinoflow import bentos
from kinoflow.workspace import Workspace
from tests.documents import contender, evidence

def model(bento):
    with tarfile.open(bento) as archive:
        return archive.extractfile("./src/bundle/model.keras").read().decode()

workspace = Workspace()
old, new = bentos.champion(workspace.champion), workspace.bento
both = [steps.accuracy(model(bento)) for bento in (old, new)]
time.sleep(0.2)
margin = 0.1 if both[1] > both[0] else -0.1
found = evidence(low=margin - 0.05, high=margin + 0.05)
found = found.model_copy(update={
    "champion": contender(bentos.version(old), accuracy=both[0]),
    "challenger": contender(bentos.version(new), accuracy=both[1]),
})
found.write(workspace.challenge)
"""


def lay_out(root: Path) -> Workspace:
    """Make a folder with that pipeline, without git."""
    workspace = Workspace(root)
    root.mkdir()
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=root, check=True)
    shutil.copy(ROOT / ".dvcignore", root)
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "steps.py").write_text(STEPS_PY)
    (root / "stages").mkdir()
    # the real stages but for the one that scores models
    (root / "stages" / "__init__.py").write_text(f"__path__.append({str(ROOT / 'stages')!r})\n")
    (root / "stages" / "challenge.py").write_text(CHALLENGE)
    for name in ("Run", "Jump"):
        (root / "videos" / name).mkdir(parents=True)
        for number in range(3):
            video = root / "videos" / name / f"v_{name}_g{number:02}_c01.avi"
            video.write_text(f"{name} {number}")
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    params["candidates"] = {name: {"model": name} for name in CANDIDATES}
    params["dataset"] |= {"source": "folder", "path": str(root / "videos")}
    params["compute"] |= {"workers": 1}
    YAML().dump(params, workspace.params)
    Decision().write(workspace.decision)
    return workspace


def change(workspace: Workspace, version: int) -> None:
    """New footage and another seed, so that everything has to be made anew."""
    path, yaml = workspace.params, YAML()
    params = yaml.load(path)
    params["seed"] = version
    yaml.dump(params, path)
    video = workspace.root / "videos" / "Run" / "v_Run_g00_c01.avi"
    video.write_text(f"Run 0, version {version:09}")


def made(workspace: Workspace) -> dict[str, str]:
    """All that the pipeline made, but for what holds a time."""
    found = {}
    for folder in (workspace.models, workspace.reports):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name not in ("decision.json", "index.html"):
                found[path.relative_to(workspace.root).as_posix()] = path.read_text()
    return found


def expected(workspace: Workspace) -> dict[str, str]:
    """The weights of each candidate, by the same steps in one go."""

    def digest(*parts: str) -> str:
        return hashlib.md5("|".join(parts).encode(), usedforsecurity=False).hexdigest()

    seed = YAML(typ="safe").load(workspace.params)["seed"]
    videos = sorted((workspace.root / "videos").rglob("*.avi"))
    catalog = digest(f"seed: {seed}", *(digest(video.read_bytes().hex()) for video in videos))
    found = {}
    for name in CANDIDATES:
        weights = digest(catalog, name)
        for step in range(STEPS):
            weights = digest(weights, str(step + 1))
        found[name] = weights
    return found


def accuracy(model: str) -> float:
    return round(0.5 + int(model[:4], 16) / 0x20000, 4)


def journal(workspace: Workspace) -> list[str]:
    """The versions that were champions, the first one first."""
    return [json.loads(line)["version"] for line in workspace.journal.read_text().splitlines()]
