"""Published studies, as the recipes of a repository describe them."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from kinoflow.settings import Values, merge
from kinoflow.system import documents
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace


class PublishedScore(BaseModel):
    """The test score that a study reports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: Literal["accuracy", "f1"]  # f1: macro
    value: float


class Recipe(BaseModel):
    """A study: what it is, what it scored, and its params, to lay over those of the repository.

    Its pipeline is the main one, which trains candidates, or that of `make style`. The latter has
    neither a score to compare with nor a twin.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    pipeline: Literal["main", "style"] = "main"
    published: PublishedScore | None = None
    params: Values
    honest: Values = {}  # laid over `params`; empty where the study's split keeps recordings whole

    @model_validator(mode="after")
    def _has_a_score(self) -> "Recipe":
        if (self.published is None) != (self.pipeline == "style"):
            raise ValueError("a study has a `published` score, unless its pipeline is style")
        return self

    def settings(self, base: Values, *, honest: bool = False) -> Values:
        """The params to run the study with, or its honest twin.

        Args:
            base: the values of the repository's params.yaml.
            honest: whether to give the settings of the honest twin.
        """
        settings = merge(base, self.params)
        return merge(settings, self.honest) if honest else settings


def names(repository: Workspace) -> list[str]:
    """The names of the repository's recipes, sorted."""
    return sorted(path.stem for path in _folder(repository).glob("*.yaml"))


def read(repository: Workspace, name: str) -> Recipe:
    """Read the recipe of that name.

    Raises UserError if there is none, or its file is not valid.
    """
    folder = _folder(repository)
    if name not in names(repository):
        there = ", ".join(names(repository))
        raise UserError(f"no recipe {name!r} in {folder}/; there are {there}")
    path = folder / f"{name}.yaml"
    return documents.checked(Recipe, documents.read_yaml(path), path)


def _folder(repository: Workspace) -> Path:
    return repository.root / "recipes"
