"""The section `style` of params.yaml: two domains, and the CycleGAN that translates between them.

params.yaml explains each key.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kinoflow.system import documents

Look = Literal["plain", "pencil", "night"]
LOOKS: tuple[Look, ...] = get_args(Look)
DomainName = Literal["a", "b"]
DOMAINS: tuple[DomainName, ...] = get_args(DomainName)

Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Domain(_Section):
    """Where the pictures of one domain come from: exactly one of the three."""

    look: Look | None = None
    folder: Path | None = None
    # a column of the catalog, and the values that it may have; * and ? as in names of files
    where: dict[str, str | tuple[str, ...]] | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> "Domain":
        given = [name for name in ("look", "folder", "where") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "a domain is one of look, folder and where: "
                + (f"{' and '.join(given)} are given" if given else "none is given")
            )
        return self


class CycleGan(_Section):
    """The networks of a CycleGAN and how they are trained."""

    filters: Count = 64
    blocks: Count = 9
    halvings: Annotated[int, Field(ge=1, le=2)] = 2
    discriminator_filters: Count = 64
    # pixels of a side of what a discriminator judges at a time
    patch: Literal[16, 34, 70, 142] = 70
    epochs: Count = 100
    decay: Annotated[float, Field(ge=0, le=1)] = 0.5
    steps: Count | None = None
    batch_size: Count = 1
    crop: Annotated[int, Field(ge=16, multiple_of=4)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 0.0002
    cycle: Weight = 10.0
    identity: Weight = 5.0
    temporal: Weight = 0.0
    pool: Annotated[int, Field(ge=0)] = 50
    # decay of the moving average of the weights, which is what is kept; 0: no average
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _pool_fits(self) -> "CycleGan":
        if 0 < self.pool < self.batch_size:
            raise ValueError(
                f"pool {self.pool} is smaller than batch_size {self.batch_size}: "
                "raise it, or set it to 0 for none"
            )
        return self


class Style(_Section):
    """The whole section."""

    a: Domain = Domain(look="plain")
    b: Domain = Domain(look="pencil")
    height: Annotated[int, Field(ge=32)] = 64
    width: Annotated[int, Field(ge=32)] = 64
    moments: Count = 8
    run: Annotated[int, Field(ge=2)] = 12
    val: Fraction = 0.2
    test: Fraction = 0.2
    cyclegan: CycleGan = CycleGan()

    @model_validator(mode="after")
    def _fits(self) -> "Style":
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val} and test {self.test} leave nothing to train on")
        for name in ("height", "width"):
            if getattr(self, name) % 4:
                raise ValueError(f"{name} {getattr(self, name)} is no multiple of 4")
        crop = self.cyclegan.crop
        if crop and crop > min(self.height, self.width):
            raise ValueError(f"cyclegan.crop {crop} is larger than the pictures")
        if self.a == self.b:
            raise ValueError("a and b are the same: there is nothing to translate")
        return self

    def domain(self, name: DomainName) -> Domain:
        """The domain called a or b."""
        return self.a if name == "a" else self.b

    @property
    def paired(self) -> bool:
        """Whether every frame can be drawn in both domains, so that the truth is known."""
        return self.a.look is not None and self.b.look is not None


def of(values: Mapping[str, Any], source: Path) -> Style:
    """Check the section `style` of params.yaml.

    Args:
        values: as `kinoflow.config.Params.style` has it.
        source: the file that it was read from, for errors.

    Raises UserError that names the key at fault.
    """
    return documents.checked(Style, dict(values), source, "style")
