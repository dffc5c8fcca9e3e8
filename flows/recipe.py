"""Run a published study again, in a folder of its own.

`python -m flows.recipe` lists the studies of recipes/. `python -m flows.recipe ucf50_lrcn` runs
one as it was published. With `--honest` it runs the study's honest twin: the same, except that the
split keeps recordings whole. `-S training.epochs=2` changes a setting, as in `dvc exp run`.
"""

import argparse
import functools

from flows import dvc, studies, worktree
from flows.comparison import compare
from flows.reproduce import reproduce
from kinoflow import config, settings
from kinoflow.reports import leaderboard
from kinoflow.system import documents, locks
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run


def listing(repository: Workspace) -> str:
    """All recipes with their published scores, a line each."""
    lines = []
    for name in studies.names(repository):
        recipe = studies.read(repository, name)
        score = recipe.published
        published = f"{score.metric} {score.value:g}" if score else "no score"
        lines.append(f"{name:<22}{published:<18}{recipe.study}")
    return "\n".join(lines)


def translate(say: dvc.Say, tree: Workspace) -> None:
    """Do what `make style` does, in a work tree.

    Args:
        say: called with each line of output.
        tree: the work tree.

    Raises StageFailed with what the failing stage said.
    """
    dvc.stage("style_domains", say, tree)
    dvc.repro(say, tree, ["style/dvc.yaml"])
    dvc.stage("style_gallery", say, tree)
    say(f"networks in {tree.style_models}, scores and films in {tree.reports / 'style'}")


def main(workspace: Workspace) -> None:
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
        print(listing(workspace))
        return
    name, honest = arguments.recipe, arguments.honest
    recipe = studies.read(workspace, name)
    if honest and not recipe.honest:
        raise UserError(
            f"{name} was published on an honest split: it has no other twin"
            if recipe.published
            else f"{name} compares no scores: it has no twin"
        )
    config.load(workspace.params)  # so that a mistake in params.yaml is not blamed on the recipe
    base = documents.read_yaml(workspace.params)
    values = settings.override(recipe.settings(base, honest=honest), arguments.settings)
    tree = worktree.tree_of(workspace, name, honest=honest)
    # a second run of the same recipe would take the code away from under this one
    with locks.held(tree.lock("recipe"), f"running the recipe {name}"):
        worktree.lay_out(tree, workspace, settings.with_absolute_paths(values, workspace.root))
        say = functools.partial(print, flush=True)
        try:
            if recipe.pipeline == "style":
                translate(say, tree)
                return
            dvc.stage("download", say, tree)
            reproduce(say, tree, ["evaluate"])
        except dvc.StageFailed as failure:
            raise UserError(str(failure)) from None
    print(f"\n{leaderboard.table(tree).rstrip()}\n\n{compare(workspace, name, recipe, base)}")


if __name__ == "__main__":
    run(main)
