"""Write into each dvc.yaml which code each stage depends on, as its imports say: `make deps`.

DVC runs a stage again when code that it depends on changes. This code is every module that the
stage imports, directly or not, except those listed in `NO_EFFECT`.
"""

import ast
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from kinoflow.system import files
from kinoflow.system.imports import imported, source
from kinoflow.workspace import Workspace, run
from stages.package_code import ENTRY_POINTS, READ, RUNTIMES

# the main one, and that of style transfer; their deps are relative to the root
PIPELINES = ("dvc.yaml", "style/dvc.yaml")
PACKAGES = ("kinoflow", "serving", "stages")

# modules that change no output of a stage, and why
NO_EFFECT = {
    "kinoflow": "public names, the version, and which kernels of TensorFlow round its results",
    "kinoflow.video": "public names",
    "kinoflow.config": "what is read from params.yaml: DVC compares the values that a stage takes",
    "kinoflow.workspace": "where files lie: DVC compares the files",
    "kinoflow.models.registry": "names: work/architectures lists the code behind them",
    "kinoflow.models.layers": "names: work/architectures lists the layers of each model",
    "kinoflow.reports.records": "the form of JSON documents: the stage decides what they say",
    "kinoflow.system.cluster": "where a function runs",
    "kinoflow.system.documents": "how mistakes in settings are worded: DVC compares the values",
    "kinoflow.system.errors": "how a command ends",
    "kinoflow.system.files": "how files are written, not what is in them",
    "kinoflow.system.imports": "which modules there are: they are dependencies themselves",
    "kinoflow.system.locks": "which run waits for which",
    "kinoflow.system.sandbox": "bounds on the time and memory of a function",
    "kinoflow.system.supervisor": "how processes are ended",
    "kinoflow.system.terminal": "what is shown while a stage runs",
}
# exceptions: modules of NO_EFFECT that do change the output of a stage
EFFECT = {
    # it lays a candidate's settings over the common ones
    "train": ["kinoflow.config"],
    # it opens the winner, which may be any of the architectures
    "explain": ["kinoflow.models.layers"],
    # it opens networks, whose layers are registered with all others
    "restyle": ["kinoflow.models.layers"],
    # a video that exceeds its time or memory is listed as unreadable
    "catalog": ["kinoflow.system.sandbox", "kinoflow.system.cluster"],
}
# files that modules read, by module
FILES = {
    "kinoflow.reports.page": ["kinoflow/reports/templates"],
    **{module: [folder] for module, folder in READ.items()},
}
# stages whose output holds the source of modules: every change to these modules changes it
HOLDS_CODE = {"package": (*ENTRY_POINTS, *RUNTIMES.values())}


def module(stage: str) -> str:
    """The module that a stage runs; those of students run that of other candidates."""
    return stage.removesuffix("_student")


def modules(stage: str) -> set[str]:
    """The modules whose code the outputs of a stage, given by name, depend on."""
    stage = module(stage)
    without = NO_EFFECT.keys() - EFFECT.get(stage, [])
    found = imported([f"stages.{stage}"], PACKAGES, without=without)
    return found | imported(HOLDS_CODE.get(stage, []), PACKAGES)


def code(stage: str, root: Path) -> list[str]:
    """The code that a stage depends on: its modules and the files they read, relative to `root`.

    Modules that hold only a docstring are left out.
    """
    names = modules(stage)
    paths = {path for path in map(source, names) if not _holds_docstring_only(path)}
    read = [name for module in names & FILES.keys() for name in FILES[module]]
    return sorted([*(path.relative_to(root).as_posix() for path in paths), *read])


def is_code(dependency: str) -> bool:
    """Whether a dependency in dvc.yaml is one of our modules, or a file that a module reads."""
    ours = dependency.endswith(".py") and dependency.partition("/")[0] in PACKAGES
    return ours or any(dependency in read for read in FILES.values())


def updated(text: str, root: Path) -> str:
    """The text of a dvc.yaml, with each stage's code in `deps` as its imports say."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(text)
    for name, stage in document["stages"].items():
        deps = stage.get("do", stage)["deps"]
        _replace(deps, code(name, root))
    return _dumped(yaml, document)


def _replace(deps: Any, wanted: Iterable[str]) -> None:
    """Replace the code among a stage's `deps`, in place: ruamel.yaml keeps comments on the list."""
    for place in reversed(range(len(deps))):
        if is_code(deps[place]):
            del deps[place]
    deps.extend(wanted)


def _dumped(yaml: YAML, document: Any) -> str:
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _holds_docstring_only(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return all(isinstance(each, ast.Expr) for each in body)


def main(workspace: Workspace) -> None:
    for name in PIPELINES:
        path = workspace.root / name
        before = path.read_text(encoding="utf-8")
        after = updated(before, Path(__file__).resolve().parent.parent)
        if after != before:
            files.write_text(path, after)
        print(f"deps: {path} {'changed' if after != before else 'is up to date'}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
