"""The work trees that recipes are run in: folders with copies of the repository's code."""

import os
import shutil

from ruamel.yaml import YAML

from flows import dvc
from kinoflow import config
from kinoflow.reports.decision import Decision
from kinoflow.settings import Values
from kinoflow.system import files
from kinoflow.workspace import Workspace

# what each work tree holds copies of; a network is small, and a recipe may restyle clips by it
_CODE = ("kinoflow", "stages", "style/networks")
_CONFIG = ("dvc.yaml", "style/dvc.yaml", ".dvcignore", ".dvc/config", "unlabelled/.gitignore")


def tree_of(repository: Workspace, name: str, *, honest: bool) -> Workspace:
    """The work tree of a recipe, or of its honest twin."""
    return Workspace(repository.root / "recipes.work" / (f"{name}-honest" if honest else name))


def lay_out(tree: Workspace, repository: Workspace, values: Values) -> None:
    """Make `tree` a work tree with the repository's code, and `values` as its params.yaml.

    It shares the repository's downloads and DVC cache, so that nothing is fetched or stored twice.
    Raises UserError for values that are not valid.
    """
    # scores of earlier params must not stay; `dvc repro` restores those of these params
    shutil.rmtree(tree.reports, ignore_errors=True)
    Decision().write(tree.decision)  # a recipe's models are never promoted
    for name in _CODE:
        with files.replacing_folder(tree.root / name) as partial:
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(repository.root / name, partial, dirs_exist_ok=True, ignore=unwanted)
    for name in _CONFIG:
        with files.replacing(tree.root / name) as partial:
            shutil.copy(repository.root / name, partial)
    files.write_text(
        tree.root / ".dvc" / "config.local",
        f'[core]\n    no_scm = true\n[cache]\n    dir = "{dvc.cache(repository)}"\n',
    )
    repository.downloads.mkdir(exist_ok=True)
    with files.replacing(tree.downloads) as partial:
        partial.symlink_to(os.path.relpath(repository.downloads, tree.root))
    with files.replacing(tree.params) as partial, partial.open("w") as file:
        YAML().dump(values, file)
    config.load(tree.params)
