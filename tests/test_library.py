"""What `import kinoflow` gives, and what it costs."""

import subprocess
import sys
import tomllib

import pytest

import kinoflow
from tests.conftest import ROOT


def test_importing_the_library_imports_nothing_else() -> None:
    code = "import sys; before = {*sys.modules}; import kinoflow; print(*({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in done.stdout.split()}
    assert packages - sys.stdlib_module_names == {"kinoflow"}
    assert not [name for name in done.stdout.split() if name.startswith("kinoflow.")]


@pytest.mark.parametrize("name", kinoflow.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(kinoflow, name) is not None
    assert name in dir(kinoflow)


def test_public_names_are_those_of_the_modules() -> None:
    from kinoflow.bundle import load
    from kinoflow.models import registry
    from kinoflow.video.decoder import probe

    assert kinoflow.load is load
    assert kinoflow.probe is probe
    assert [*kinoflow.MODELS] == [*registry.MODULES]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'sampel'"):
        _ = kinoflow.sampel


def test_the_version_is_that_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert kinoflow.__version__ == project["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {project['version']} - " in changelog
