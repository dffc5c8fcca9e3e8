"""Compare what a study published with what its recipe, and its honest twin, scored here."""

from flows.studies import Recipe
from flows.worktree import tree_of
from kinoflow.reports import leaderboard
from kinoflow.settings import Values, differences
from kinoflow.system import documents
from kinoflow.workspace import Workspace


def compare(repository: Workspace, name: str, recipe: Recipe, base: Values) -> str:
    """The published score and those that were measured here, as text for a terminal.

    Args:
        repository: the work tree that holds the recipe.
        name: the recipe's name.
        recipe: the recipe, of the main pipeline.
        base: the values of the repository's params.yaml.
    """
    assert recipe.published is not None
    metric = {"accuracy": "accuracy", "f1": "macro F1"}[recipe.published.metric]
    lines = [f"{name} ({recipe.study}), test {metric}:", f"  published: {recipe.published.value:g}"]
    for honest in (False, True):
        tree = tree_of(repository, name, honest=honest)
        if scores := _scores(tree, recipe.published.metric):
            used = documents.read_yaml(tree.params)
            meant = recipe.settings(base, honest=honest)
            other = differences(used, meant, {"seed", *recipe.params})
            lines.append(
                f"  {'honest twin' if honest else 'as published'}, "
                f"split {used['split']['method']}: {', '.join(scores)}"
                + (f" (with {', '.join(other)})" if other else "")
            )
    return "\n".join(lines)


def _scores(tree: Workspace, metric: str) -> list[str]:
    """The candidates' test scores, with three decimals; empty before the recipe was run."""
    column = {"accuracy": "test_accuracy", "f1": "f1"}[metric]
    return [f"{row[column]:.3f}" for row in leaderboard.results(tree).rows]
