"""The project as such: what its files say of each other."""

import tomllib

from setuptools import find_packages

from tests.conftest import ROOT


def test_an_installation_holds_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    there = find_packages(str(ROOT), exclude=["tests*", "benchmarks*"])
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(there)


def test_every_model_is_described_and_offered() -> None:
    from kinoflow.models import MODELS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for name in MODELS:
        assert f"`{name}`" in readme
        assert f"model: {name}" in params
