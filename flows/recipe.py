"""A published study, run again in a folder of its own: as it was published, or honestly.

`python -m flows.recipe` lists the studies of recipes/. `python -m flows.recipe ucf50_lrcn` runs
one as it was published; with `--honest` its twin runs, which is the same but for a split that
keeps recordings whole. `-S training.epochs=2` changes a setting, as in `dvc exp run`.
"""

import argparse
import copy
import functools
import os
import shutil
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows import dvc
from kinoflow import config
from kinoflow.reports import leaderboard
from kinoflow.system import files
from kinoflow.system.errors import UserError, run
from kinoflow.workspace import Workspace

RECIPES = Path("recipes")
WORK = Path("recipes.work")

# what of the repository a recipe's folder holds a copy of
_CODE = ("kinoflow", "stages")
_CONFIG = ("dvc.yaml", ".dvcignore", ".dvc/config")
# sections that a recipe replaces as a whole: what it does not name is not the study's
_WHOLE = {"dataset", "split", "augment", "candidates"}

Values = dict[str, Any]


class Published(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: Literal["accuracy", "f1"]  # f1: macro
    value: float


class Recipe(BaseModel):
    """A study: what it is, what it scored, and its params laid over those of the repository."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    published: Published
    params: Values
    honest: Values  # laid over `params`; empty where the study's split keeps recordings whole

    def settings(self, base: Values, *, honest: bool = False) -> Values:
        """The params to run with, where `base` are those of the repository."""
        settings = overlaid(base, self.params)
        return overlaid(settings, self.honest) if honest else settings


def names() -> list[str]:
    """The recipes that there are."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def read(name: str) -> Recipe:
    """The recipe of that name; UserError if there is none, or it is not as it should be."""
    if name not in names():
        raise UserError(f"no recipe {name!r} in {RECIPES}/; there are {', '.join(names())}")
    path = RECIPES / f"{name}.yaml"
    try:
        return Recipe.model_validate(YAML(typ="safe").load(path))
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def overlaid(base: Values, overlay: Values) -> Values:
    """`base` with what `overlay` says otherwise, key by key but for the sections it replaces."""
    merged = dict(base)
    for key, value in overlay.items():
        below = base.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and key not in _WHOLE:
            merged[key] = overlaid(below, value)
        else:
            merged[key] = value
    return merged


def changed(values: Values, settings: list[str]) -> Values:
    """`values` with settings such as `training.epochs=2`; UserError for one of another form."""
    values = copy.deepcopy(values)
    for setting in settings:
        key, equals, value = setting.partition("=")
        *above, last = key.split(".")
        section = values
        for part in above:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise UserError(f"-S {setting}: {part} has no keys of its own")
        if not equals or not last:
            raise UserError(f"-S {setting}: a setting is key=value, such as training.epochs=2")
        try:
            section[last] = YAML(typ="safe").load(value)
        except YAMLError:
            raise UserError(f"-S {setting}: the value is not valid YAML") from None
    _make_absolute(values["dataset"], ("path", "lists"))
    for candidate in values["candidates"].values():
        options = candidate.get("options", {})
        if Path(str(options.get("weights"))).expanduser().is_file():
            _make_absolute(options, ("weights",))
    return values


def folder(name: str, *, honest: bool) -> Path:
    """Where a recipe or its twin is run."""
    return WORK / (f"{name}-honest" if honest else name)


def lay_out(folder: Path, values: Values) -> None:
    """Make `folder` a work tree with this repository's code and these params.

    What the repository has downloaded and what DVC has in its cache serve there as well, so that
    nothing is fetched or stored twice. Raises UserError for params that are not valid.
    """
    # older scores must not stand here as if these params had made them; DVC restores those that did
    shutil.rmtree(Workspace(folder).reports, ignore_errors=True)
    for name in _CODE:
        with files.replacing_folder(folder / name) as partial:
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(name, partial, dirs_exist_ok=True, ignore=unwanted)
    for name in _CONFIG:
        with files.replacing(folder / name) as partial:
            shutil.copy(name, partial)
    files.write_text(
        folder / ".dvc" / "config.local",
        f'[core]\n    no_scm = true\n[cache]\n    dir = "{dvc.cache()}"\n',
    )
    downloads = Workspace().downloads
    downloads.mkdir(exist_ok=True)
    with files.replacing(Workspace(folder).downloads) as partial:
        partial.symlink_to(os.path.relpath(downloads, folder))
    with files.replacing(Workspace(folder).params) as partial, partial.open("w") as file:
        YAML().dump(values, file)
    config.load(Workspace(folder).params)


def measured(recipe: Recipe, name: str, base: Values, *, honest: bool) -> str:
    """What a recipe or its twin scored, and with what else than the recipe says; or nothing."""
    tree = folder(name, honest=honest)
    rows = leaderboard.rows(Workspace(tree))
    if not rows:
        return ""
    used = YAML(typ="safe").load(Workspace(tree).params)
    wanted = recipe.settings(base, honest=honest)
    sections = {"seed", *recipe.params}
    given, meant = _flat(used, sections), _flat(wanted, sections)
    other = [
        f"{key}={given.get(key)}"
        for key in sorted({*given, *meant})
        if given.get(key) != meant.get(key)
    ]
    what = "honest twin" if honest else "as published"
    column = {"accuracy": "test_accuracy", "f1": "f1"}[recipe.published.metric]
    scores = ", ".join(f"{row[column]:.3f}" for row in rows)
    return f"  {what}, split {used['split']['method']}: {scores}" + (
        f" (with {', '.join(other)})" if other else ""
    )


def comparison(recipe: Recipe, name: str, base: Values) -> str:
    """The published figure and what came out here, as text for a terminal."""
    metric = {"accuracy": "accuracy", "f1": "macro F1"}[recipe.published.metric]
    lines = [f"{name} ({recipe.study}), test {metric}:", f"  published: {recipe.published.value:g}"]
    lines += filter(None, [measured(recipe, name, base, honest=honest) for honest in (False, True)])
    return "\n".join(lines)


def listing() -> str:
    """All recipes with their published figures."""
    lines = []
    for name in names():
        recipe = read(name)
        published = f"{recipe.published.metric} {recipe.published.value:g}"
        lines.append(f"{name:<22}{published:<18}{recipe.study}")
    return "\n".join(lines)


def _make_absolute(section: Values, keys: tuple[str, ...]) -> None:
    """Let paths that are given from here lead to the same place from the recipe's folder."""
    for key in keys:
        if section.get(key) and "://" not in str(section[key]):
            section[key] = str(Path(section[key]).expanduser().absolute())


def _flat(values: Values, sections: set[str]) -> Values:
    """The values of these sections by their dotted keys."""
    found: Values = {}
    for key in sections & values.keys():
        value = values[key]
        if isinstance(value, dict) and value:
            found |= {f"{key}.{below}": v for below, v in _flat(value, {*value}).items()}
        else:
            found[key] = value
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m flows.recipe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", nargs="?", help="a file of recipes/, without its suffix")
    parser.add_argument("--honest", action="store_true", help="run its honest twin")
    parser.add_argument(
        "-S",
        metavar="key=value",
        dest="settings",
        action="append",
        default=[],
        help="change a setting of params.yaml; may be given several times",
    )
    arguments = parser.parse_args()
    if arguments.recipe is None:
        print(listing())
        return
    name, honest = arguments.recipe, arguments.honest
    recipe = read(name)
    if honest and not recipe.honest:
        raise UserError(f"{name} was published on an honest split: it has no other twin")
    config.load(Workspace().params)
    base = YAML(typ="safe").load(Workspace().params)
    tree = folder(name, honest=honest)
    lay_out(tree, changed(recipe.settings(base, honest=honest), arguments.settings))
    say = functools.partial(print, flush=True)
    try:
        dvc.stage("download", say, tree)
        dvc.repro(say, tree, ["evaluate"])
    except dvc.StageFailed as failure:
        raise UserError(str(failure)) from None
    print(f"\n{leaderboard.table(Workspace(tree)).rstrip()}\n\n{comparison(recipe, name, base)}")


if __name__ == "__main__":
    run(main)
