"""The section `compress` of params.yaml: which forms are made of which models.

params.yaml explains each key.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from kinoflow.compress import formats
from kinoflow.system import documents
from kinoflow.system.errors import UserError

WINNER = "winner"  # stands for whichever candidate wins
ORIGINAL = "original"  # what the bundle itself is called beside its forms

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FineTune(_Section):
    """How a model is trained after a change that costs accuracy."""

    epochs: Count = 8
    learning_rate: Annotated[float, Field(gt=0)] = 0.001


class Recipe(_Section):
    """How one form is made of a bundle."""

    format: str
    precision: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    prune: Fraction | None = None  # share of the channels that are taken out
    sparsity: Fraction | None = None  # share of the weights that are set to 0

    @field_validator("format")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            formats.find(name)
        except UserError as error:
            raise ValueError(str(error)) from None
        return name

    @model_validator(mode="after")
    def _fits(self) -> "Recipe":
        kind = formats.find(self.format)
        if self.precision not in kind.precisions:
            raise ValueError(
                f"{self.format} has no precision {self.precision}; "
                f"there are {', '.join(kind.precisions)}"
            )
        if self.prune and self.sparsity:
            raise ValueError("prune and sparsity exclude each other: make two forms")
        return self


class Compress(_Section):
    """The section itself."""

    enabled: bool = False
    candidates: Annotated[tuple[str, ...], Field(min_length=1)] = (WINNER,)
    choose: Literal["fastest", "smallest", "none"] = "fastest"
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.02
    calibration: Annotated[int, Field(ge=1)] = 128
    fine_tune: FineTune = FineTune()
    forms: dict[Name, Recipe] = {}

    @model_validator(mode="after")
    def _has_forms(self) -> "Compress":
        if self.enabled and not self.forms:
            raise ValueError("it is enabled and forms is empty: name at least one")
        if ORIGINAL in self.forms:
            raise ValueError(f"no form can be called {ORIGINAL}: the bundle itself is")
        return self


def of(values: Mapping[str, Any], source: Path) -> Compress:
    """Check the section `compress` of params.yaml.

    Args:
        values: as `kinoflow.config.Params.compress` has it.
        source: the file that it was read from, for errors.

    Raises UserError that names the key at fault.
    """
    return documents.checked(Compress, dict(values), source, "compress")
