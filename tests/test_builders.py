"""What params.yaml can name: the registry of models, and the options of their builders."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import pytest

import kinoflow.models
from kinoflow import config
from kinoflow.config import Candidate
from kinoflow.models import MODELS, layers, options_of, registry
from kinoflow.models.layers.clip import ClipInput
from kinoflow.system.errors import UserError
from kinoflow.video import ClipSpec
from tests.conftest import ROOT
from tests.networks import CLIP, build

FOLDER = Path(kinoflow.models.__file__).parent


def documented(builder: Callable[..., keras.Model]) -> dict[str, str]:
    """The entries of the `Args:` block of a builder's docstring."""
    _, _, block = (inspect.getdoc(builder) or "").partition("\nArgs:\n")
    block = block.split("\n\n")[0]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", block, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


@pytest.mark.parametrize("name", MODELS)
def test_the_docstring_explains_every_option_and_names_the_source(name: str) -> None:
    entries = documented(MODELS[name])
    assert sorted(entries) == sorted(options_of(MODELS[name]))
    for option, text in entries.items():
        assert len(text) > 20, option
    told = " ".join((inspect.getdoc(MODELS[name]) or "").split())
    paper = r'"[^"]+" \([^()]*\b(19|20)\d\d\)'
    assert re.search(paper, told) or "Source: " in told


def test_the_check_of_docstrings_finds_what_is_missing_and_what_is_too_much() -> None:
    def toy(clip, classes, *, width=8, depth=2):
        """A toy.

        Args:
            width: channels of the only layer,
                a few.
            height: of nothing.

        Raises ValueError for nothing.
        """

    assert documented(toy) == {
        "width": "channels of the only layer, a few.",
        "height": "of nothing.",
    }
    assert options_of(toy) == {"width": 8, "depth": 2}


def test_every_name_in_the_registry_has_its_builder_in_the_module_that_it_says() -> None:
    for name, module in registry.MODULES.items():
        assert (FOLDER / f"{module}.py").is_file()
        builder = registry.builder(name)
        assert builder.__name__ == name
        assert builder.__module__ == f"kinoflow.models.{module}"


def test_every_builder_is_in_the_registry() -> None:
    found = set()
    for module in pkgutil.iter_modules([str(FOLDER)]):
        names = vars(importlib.import_module(f"kinoflow.models.{module.name}"))
        for name, value in names.items():
            if inspect.isfunction(value) and not name.startswith("_"):
                parameters = [*inspect.signature(value).parameters.values()]
                if parameters and parameters[0].annotation in (ClipInput, "ClipInput"):
                    found.add(name)
    assert found == set(registry.MODULES)


def test_a_file_beside_the_models_is_no_model(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for stray in ("streaming", "recurrent", "layers", "__init__"):
        assert (FOLDER / stray).exists() or (FOLDER / f"{stray}.py").exists()
        path = tmp_path / "params.yaml"
        path.write_text(text.replace("model: lrcn", f"model: {stray}", 1), encoding="utf-8")
        with pytest.raises(UserError, match=f"no model '{stray}'.*; there are c3d, cnn_lstm, "):
            config.load(path)


def test_a_bundle_finds_every_layer_of_our_own() -> None:
    for module in pkgutil.iter_modules(layers.__path__):
        found = vars(importlib.import_module(f"{layers.__name__}.{module.name}")).values()
        registered = {
            value
            for value in found
            if inspect.isclass(value)
            and value.__module__ == f"{layers.__name__}.{module.name}"
            and keras.saving.get_registered_name(value).startswith("kinoflow>")
        }
        assert (module.name in layers.__all__) == bool(registered), module.name


def test_names_are_known_and_checked_without_keras() -> None:
    check = (
        "import sys; from kinoflow import config; from kinoflow.models import registry; "
        "registry.check('lrcn'); config.Candidate(model='lrcn'); "
        "sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)


def test_no_private_attribute_of_another_object_is_used() -> None:
    used = []
    for path in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr):
                own = isinstance(node.value, ast.Name) and node.value.id == "self"
                used += [] if own else [f"{path.name}:{node.lineno} {node.attr}"]
    assert used == []


@pytest.mark.parametrize(("name", "weights"), [("lrcn", 73_060), ("convlstm", 44_524)])
def test_networks_are_as_large_as_published(name: str, weights: int) -> None:
    assert build(Candidate(model=name), ClipSpec(20, 64, 64), 4).count_params() == weights


def test_r2plus1d_when_widened_has_as_many_weights_as_r3d() -> None:
    spec = ClipSpec(16, 64, 64)
    full, halved, widened = (
        build(Candidate(model=name, options=options), spec, 4).count_params()
        for name, options in (("r3d", {}), ("r2plus1d", {}), ("r2plus1d", {"widened": True}))
    )
    assert widened == pytest.approx(full, rel=0.01)
    assert halved < 0.5 * full


def test_wrong_options_and_sizes_are_named() -> None:
    with pytest.raises(UserError, match="lrcn has no option depth; there are filters, pools"):
        build(Candidate(model="lrcn", options={"depth": 3}), CLIP, 5)
    with pytest.raises(UserError, match="lrcn cannot be built"):
        build(Candidate(model="lrcn", options={"pools": [2, 2]}), CLIP, 5)
    with pytest.raises(UserError, match="csn cannot be built: variant must be ip or ir"):
        build(Candidate(model="csn", options={"variant": "iq"}), CLIP, 5)
    with pytest.raises(UserError, match="c3d cannot be built: inputs must be frames,"):
        build(Candidate(model="c3d", options={"inputs": True}), CLIP, 5)
    with pytest.raises(UserError, match="c3d has no option differences; there are filters,"):
        build(Candidate(model="c3d", options={"differences": "only"}), CLIP, 5)
