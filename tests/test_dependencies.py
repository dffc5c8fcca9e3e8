"""What dvc.yaml says that each stage depends on is what it imports, no less and no more."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from kinoflow.config import Evaluation, Training
from kinoflow.models import registry
from kinoflow.system.imports import imported, source
from stages import architectures, dependencies
from tests.conftest import ROOT

DVC = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def listed(stage: str) -> list[str]:
    return DVC[stage].get("do", DVC[stage])["deps"]


@pytest.mark.parametrize("stage", DVC)
def test_a_stage_lists_the_code_that_it_imports(stage: str) -> None:
    code = [each for each in listed(stage) if dependencies.is_code(each)]
    assert code == dependencies.code(stage, ROOT), "run `make deps`"


def test_only_modules_that_exist_are_passed_over() -> None:
    for name in dependencies.NO_EFFECT:
        assert source(name).is_file()


# these read what a bundle says of its model, and load none
_READERS = {"report"}


@pytest.mark.parametrize("stage", sorted({*DVC} - _READERS))
def test_who_loads_a_model_waits_for_its_layers(stage: str) -> None:
    layers = "kinoflow.models.layers"
    without = dependencies.NO_EFFECT.keys() - {layers}
    if layers in imported(
        [f"stages.{dependencies.module(stage)}"], dependencies.PACKAGES, without=without
    ):
        lists = {"work/architectures", "work/architectures/${key}.json"}
        assert {*lists, source(layers).relative_to(ROOT).as_posix()} & {*listed(stage)}


@pytest.mark.parametrize(
    ("stage", "section", "without"),
    [
        ("train", Training, "refit"),
        ("crossvalidate", Training, "refit"),
        ("train_student", Training, "refit"),
        ("crossvalidate_student", Training, "refit"),
        ("learning_curve", Training, "refit"),
        ("evaluate", Evaluation, "learning_curve"),
    ],
)
def test_a_switch_of_a_later_stage_is_the_only_setting_that_is_left_out(
    stage: str, section: type[BaseModel], without: str
) -> None:
    name = section.__name__.lower()
    params = DVC[stage].get("do", DVC[stage])["params"]
    listed = {each.partition(".")[2] for each in params if each.startswith(f"{name}.")}
    assert listed == section.model_fields.keys() - {without}


def test_a_model_is_made_of_its_family_and_its_layers_alone() -> None:
    lrcn, movinet = architectures.code("lrcn"), architectures.code("movinet")
    assert registry.module("lrcn") in lrcn
    # editing what reads streams frame by frame trains no LRCN anew
    assert registry.module("movinet") not in lrcn
    assert "kinoflow.models.layers.causal" in movinet.keys() - lrcn.keys()
    for name in registry.MODULES:
        assert architectures.code(name).keys() & {registry.module(name)}


def test_finding_modules_imports_none() -> None:
    code = (
        "import sys; from pathlib import Path; from stages import architectures, dependencies\n"
        "architectures.code('lrcn'); dependencies.code('train', Path.cwd())\n"
        "print(*({'keras', 'tensorflow', 'cv2', 'av'} & sys.modules.keys()))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == ""


def test_the_lists_are_written_and_comments_stay(tmp_path: Path) -> None:
    text = (ROOT / "dvc.yaml").read_text()
    stale = text.replace("      - stages/split.py\n", "      - stages/select.py\n")
    assert stale != text
    assert dependencies.updated(stale, ROOT) == text
    assert dependencies.updated(text, ROOT) == text
