"""What tests of Bentos without TensorFlow share: how to choose a form, and to block imports."""

import os
import subprocess
import sys
from collections.abc import Collection
from importlib.metadata import packages_distributions
from pathlib import Path

import pandas as pd

from kinoflow.compress import clips, exporting, forms
from kinoflow.compress.forms import Form
from kinoflow.data import tables
from kinoflow.reports.records import Choice
from kinoflow.video import sample
from kinoflow.workspace import Workspace

# Python runs it at its start, in every process of a service. What it refuses it writes down, since
# whoever imports may catch the error.
_HOOK = """\
import os, sys

class Refusing:
    def __init__(self):
        with open(os.environ["REFUSED_MODULES"]) as file:
            self.names = {*file.read().split()}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.names:
            return None
        with open(os.environ["REFUSED_MODULES"] + ".asked", "a") as file:
            file.write(name + "\\n")
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refusing())
"""


def choose(workspace: Workspace, name: str, form: str, **options: str) -> Form:
    """Make a form of a bundle and have it packaged, as the stages compress and choose do."""
    source, target = workspace.bundle(name), workspace.forms / name / f"{form}-new"
    target.parent.mkdir(parents=True, exist_ok=True)
    shown = clips.held_out(workspace, forms.load_any(source).description)
    made = exporting.export(source, target, form, shown, **options)  # type: ignore[arg-type]
    rows = []
    for row in tables.read(workspace.answers(name), tables.PREDICTIONS).to_dict("records"):
        clip = sample(workspace.data / str(row["video"]), made.clip)
        answer = dict(zip(made.labels, made.predict(clip[None])[0].tolist(), strict=True))
        best = max(answer, key=answer.__getitem__)
        known = {"video": row["video"], "label": row["label"], "predicted": best}
        rows.append(known | {f"p_{label}": value for label, value in answer.items()})
    table = pd.DataFrame(rows)
    tables.write(table, workspace.choice_answers, tables.PREDICTIONS)
    Choice(candidate=name, form=target.name, reason="It is small").write(workspace.choice)
    return made


def only(packages: Collection[str], folder: Path) -> dict[str, str]:
    """The environment of a process that can import these packages, and no others installed here.

    Args:
        packages: their names.
        folder: where to write the hook; `refused.asked` in it lists what was refused.
    """
    allowed = {_canonical(name) for name in packages}
    refused = [
        module
        for module, owners in packages_distributions().items()
        if not allowed & {*map(_canonical, owners)}
        and module not in {"kinoflow", "serving", "stages", "flows"}
    ]
    assert {"tensorflow", "keras", "nncf"} <= {*refused}
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(_HOOK, encoding="utf-8")
    (folder / "refused").write_text("\n".join(refused), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "REFUSED_MODULES": str(folder / "refused"),
    }
    program = [sys.executable, "-c", "import keras"]
    blocked = subprocess.run(program, env=environment, capture_output=True, check=False)
    assert b"No module named 'keras'" in blocked.stderr
    (folder / "refused.asked").unlink()
    return environment


def asked(folder: Path) -> set[str]:
    """The modules that processes were refused since."""
    file = folder / "refused.asked"
    return {*file.read_text(encoding="utf-8").split()} if file.exists() else set()


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-")
