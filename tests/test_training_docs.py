import re
from typing import Any

import pytest
from pydantic import BaseModel

from kinoflow.config import Augment, Params, Training
from kinoflow.system.documents import parse_yaml
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "training.md"


def rows(section: str) -> dict[str, Any]:
    """The keys of a section's table, with the defaults that it gives."""
    text = (
        PAGE.read_text(encoding="utf-8").split(f"## The section `{section}`")[1].split("\n## ")[0]
    )
    found = re.findall(r"^\| `(\w+)` \| (.+?) \| .{20,} \|$", text, re.MULTILINE)
    return {key: parse_yaml(default, PAGE) for key, default in found}


@pytest.mark.parametrize(("section", "model"), [("training", Training), ("augment", Augment)])
def test_the_page_explains_every_key_and_no_other(section: str, model: type[BaseModel]) -> None:
    assert list(rows(section)) == list(model.model_fields)


@pytest.mark.parametrize("section", ["training", "augment"])
def test_its_defaults_are_those_of_params(section: str, defaults: Params) -> None:
    assert rows(section) == getattr(defaults, section).model_dump(mode="json")
