"""Write into dvc.yaml which code each stage depends on, as its imports say: `make deps`.

A stage's outputs are out of date when code that they depend on changes. That is every module
which the stage imports, directly or not, but for those listed in `NO_EFFECT`.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from kinoflow.system import files
from kinoflow.system.imports import imported, source
from kinoflow.workspace import Workspace, run
from stages.package_assemble import ENTRY_POINTS

PACKAGES = ("kinoflow", "serving", "stages")

# modules that change no output of a stage, and why
NO_EFFECT = {
    "kinoflow": "public names, and the version",
    "kinoflow.video": "public names",
    "kinoflow.config": "what is read from params.yaml: DVC compares the values that a stage takes",
    "kinoflow.workspace": "where files lie: DVC compares the files",
    "kinoflow.models.registry": "names: work/architectures lists the code behind them",
    "kinoflow.models.layers": "work/architectures lists those that a model has",
    "kinoflow.reports.records": "the form of JSON documents: what they say is the stage's doing",
    "kinoflow.system.cluster": "where a function runs",
    "kinoflow.system.documents": "how mistakes in settings are worded: DVC compares the values",
    "kinoflow.system.errors": "how a command ends",
    "kinoflow.system.files": "that files are written whole, not what is in them",
    "kinoflow.system.imports": "which modules there are: they are dependencies themselves",
    "kinoflow.system.locks": "that two runs do not meet",
    "kinoflow.system.sandbox": "what a function may take",
    "kinoflow.system.supervisor": "that processes end",
    "kinoflow.system.terminal": "what is shown meanwhile",
}
# those of them that do change the output of one stage, and why
EFFECT = {
    # a candidate's settings are laid over the common ones there
    "train": ["kinoflow.config"],
    # what takes too much is listed as unreadable
    "catalog": ["kinoflow.system.sandbox", "kinoflow.system.cluster"],
}
# files that modules read, beside their code
FILES = {"kinoflow.reports.page": ["kinoflow/reports/templates"]}
# a Bento holds these as they are, so that to it they all matter
HOLDS_CODE = {"package": ENTRY_POINTS}


def modules(stage: str) -> set[str]:
    """The modules whose code the outputs of the stage of that name depend on."""
    without = NO_EFFECT.keys() - EFFECT.get(stage, [])
    found = imported([f"stages.{stage}"], PACKAGES, without=without)
    return found | imported(HOLDS_CODE.get(stage, []), PACKAGES)


def code(stage: str, root: Path) -> list[str]:
    """What `modules` names, and what these read, as paths relative to `root`.

    Without modules that hold a docstring alone.
    """
    names = modules(stage)
    paths = {path for path in map(source, names) if not _is_bare(path)}
    read = [name for module in names & FILES.keys() for name in FILES[module]]
    return sorted([*(path.relative_to(root).as_posix() for path in paths), *read])


def is_code(dependency: str) -> bool:
    """Whether a dependency of dvc.yaml is a module of ours, or a file that one reads."""
    ours = dependency.endswith(".py") and dependency.partition("/")[0] in PACKAGES
    return ours or any(dependency in read for read in FILES.values())


def updated(text: str, root: Path) -> str:
    """The text of a dvc.yaml with the code that each of its stages depends on."""
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
    """Change a list in place, since comments belong to it and would be lost with it."""
    for place in reversed(range(len(deps))):
        if is_code(deps[place]):
            del deps[place]
    deps.extend(wanted)


def _dumped(yaml: YAML, document: Any) -> str:
    from io import StringIO

    stream = StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _is_bare(path: Path) -> bool:
    import ast

    body = ast.parse(path.read_text(encoding="utf-8")).body
    return all(isinstance(each, ast.Expr) for each in body)


def main(workspace: Workspace) -> None:
    path = workspace.root / "dvc.yaml"
    before = path.read_text(encoding="utf-8")
    after = updated(before, Path(__file__).resolve().parent.parent)
    if after != before:
        files.write_text(path, after)
    print(f"deps: {path} {'changed' if after != before else 'is up to date'}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
