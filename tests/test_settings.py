"""Params of recipes: merged, changed by -S, made to hold in another folder, compared."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from kinoflow.settings import differences, merge, override, with_absolute_paths
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from tests.conftest import ROOT


def base() -> dict[str, Any]:
    values: dict[str, Any] = YAML(typ="safe").load(Workspace(ROOT).params)
    return values


def test_sections_of_data_and_models_are_replaced_and_others_are_merged() -> None:
    below = {"split": {"val": 1}, "training": {"epochs": 3, "ema": 0}, "seed": 7}
    above = {"split": {"test": 2}, "training": {"ema": 0.9}}
    assert merge(below, above) == {
        "split": {"test": 2},
        "training": {"epochs": 3, "ema": 0.9},
        "seed": 7,
    }
    assert list(merge(below, above)) == ["split", "training", "seed"]
    assert below["training"] == {"epochs": 3, "ema": 0}


def test_students_go_with_the_candidates_that_taught_them() -> None:
    below = {"candidates": {"a": 1}, "students": {"b": 2}, "compress": {"margin": 0.1}}
    above: dict[str, Any] = {"candidates": {"c": 3}, "compress": {"candidates": ["c"]}}
    assert merge(below, above) == {
        "candidates": {"c": 3},
        "students": {},
        "compress": {"margin": 0.1, "candidates": ["c"]},
    }
    assert merge(below, {"seed": 1})["students"] == {"b": 2}


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("training.epochs", "a setting is key=value"),
        ("seed.deep=1", "seed has no keys of its own"),
        ("training.epochs=[", "not valid YAML"),
    ],
)
def test_a_setting_of_another_form_is_named(setting: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        override(base(), [setting])


def test_settings_change_a_copy() -> None:
    values = base()
    changed = override(values, ["training.epochs=2", "dataset.classes=[A, B]"])
    assert changed["training"] == values["training"] | {"epochs": 2}
    assert changed["dataset"]["classes"] == ["A", "B"]
    assert values == base()


@pytest.mark.parametrize("text", ["no", "010", "1e-4", "${seed}", "a=b", "{epochs: 2}", "null"])
def test_a_setting_means_what_it_means_in_params(text: str) -> None:
    in_params = YAML(typ="safe").load(f"key: {text}")
    assert override({}, [f"key={text}"]) == in_params


def test_paths_hold_in_every_other_folder(tmp_path: Path) -> None:
    def path(given: str) -> Any:
        values = override(base(), [f"dataset.path={given}"])
        return with_absolute_paths(values, tmp_path)["dataset"]["path"]

    assert path("archives") == str(tmp_path / "archives")
    assert path("~/archives") == str(Path.home() / "archives")
    assert path("s3://bucket/archives") == "s3://bucket/archives"
    assert path("null") is None


def test_weights_in_a_file_hold_in_every_other_folder(tmp_path: Path) -> None:
    values = base()
    values["candidates"] = {
        name: {"model": "frame_voting", "options": {"backbone": "VGG16", "weights": weights}}
        for name, weights in (("file", "vgg.h5"), ("fetched", "imagenet"))
    }
    (tmp_path / "vgg.h5").touch()
    changed = with_absolute_paths(values, tmp_path)["candidates"]
    assert changed["file"]["options"]["weights"] == str(tmp_path / "vgg.h5")
    assert changed["fetched"]["options"]["weights"] == "imagenet"
    assert values["candidates"]["file"]["options"]["weights"] == "vgg.h5"


def test_differences_are_told_by_dotted_keys() -> None:
    meant = {"seed": 1, "training": {"epochs": 3, "ema": 0}, "compute": {"workers": 0}}
    used = {"seed": 1, "training": {"epochs": 2, "extra": []}, "compute": {"workers": 4}}
    assert differences(used, meant, {"seed", "training"}) == [
        "training.ema=None",
        "training.epochs=2",
        "training.extra=[]",
    ]
    assert differences(meant, meant, meant) == []
