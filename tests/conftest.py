import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kinoflow import config
from kinoflow.config import Params
from kinoflow.system import terminal

terminal.quiet()
if "PYTEST_XDIST_WORKER" in os.environ:
    # there is a worker for each core: with several threads each they would wait for one another
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(name, "1")

ROOT = Path(__file__).parent.parent

# files that take long go first, so that no worker is left alone with one at the end
_LONG = [
    f"test_{name}.py"
    for name in (
        *(
            "pipeline",
            "models",
            "training",
            "recipes",
            "flows",
            "flow_server",
            "service",
            "serving",
            "package",
        ),
        *("extract", "parts", "errors"),
    )
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the attacks at their full length")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _LONG.index(name) if (name := item.path.name) in _LONG else 99)


@pytest.fixture
def within(record_property: Callable[[str, object], None]) -> Callable[[str, float, float], None]:
    """Asserts that a number is below its bound, and records both for benchmarks/numerics.py."""

    def below(what: str, value: float, bound: float) -> None:
        record_property(what, (float(value), bound))
        assert value < bound, what

    return below


@pytest.fixture(scope="session")
def defaults() -> Params:
    """The params.yaml of the repository."""
    return config.load(ROOT / "params.yaml")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder with real footage, named by KINOFLOW_REAL_DATA."""
    folder = os.environ.get("KINOFLOW_REAL_DATA")
    if not folder:
        pytest.skip("KINOFLOW_REAL_DATA is not set")
    return Path(folder)
