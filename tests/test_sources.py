"""Sources by name: each is a module, params.yaml knows all of them, and docs/data.md shows each."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from ruamel.yaml import YAML

from kinoflow import config
from kinoflow.config import Dataset, Params
from kinoflow.workspace import Workspace
from stages import download, sources
from stages.sources import registry
from tests.conftest import ROOT

ALLOWED = get_args(Dataset.model_fields["source"].annotation)

TOY = """
from functools import partial
from stages.sources.item import Item

def items(dataset, seed, downloads):
    return [Item(f"A/{n}.avi", f"{seed}", partial(write, str(seed))) for n in range(2)]

def write(text, path):
    path.write_text(text)
"""


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose modules are sources too."""
    folder = tmp_path / "toys"
    folder.mkdir()
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(folder)])
    yield folder
    for path in folder.glob("*.py"):
        sys.modules.pop(f"stages.sources.{path.stem}", None)
        vars(sources).pop(path.stem, None)


def test_params_allow_the_sources_that_there_are() -> None:
    assert sorted(ALLOWED) == registry.names()


def test_a_module_with_items_is_a_source(toys: Path, tmp_path: Path, defaults: Params) -> None:
    (toys / "toy.py").write_text(TOY)
    assert "toy" in registry.names()
    # as it is once `toy` stands in the Literal
    dataset = defaults.dataset.model_copy(update={"source": "toy"})
    params = defaults.model_copy(update={"dataset": dataset})
    wanted = download.items(params, Workspace(tmp_path).downloads)
    assert [item.name for item in wanted] == ["A/0.avi", "A/1.avi"]
    wanted[1].fetch(tmp_path / "1.avi")
    assert (tmp_path / "1.avi").read_text() == str(defaults.seed)


@pytest.mark.parametrize("name", ["toy", "item"])
def test_a_name_without_a_source_is_told(name: str) -> None:
    with pytest.raises(LookupError, match=f"it takes a module stages.sources.{name} with .* items"):
        registry.find(name)


def test_a_source_whose_own_import_fails_is_not_taken_for_none(toys: Path) -> None:
    (toys / "broken.py").write_text("import nowhere_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        registry.find("broken")


def examples() -> list[dict[str, Any]]:
    """The examples of settings in docs/data.md."""
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    return [YAML(typ="safe").load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.S)]


def test_the_docs_show_every_source_as_params_take_it() -> None:
    shown = set()
    for example in examples():
        raw = YAML(typ="safe").load(Workspace(ROOT).params)
        for section, values in example.items():
            raw[section] |= values
        shown.add(config.checked(raw, Path("docs/data.md")).dataset.source)
    assert shown == set(ALLOWED), "docs/data.md has no example of a source"
