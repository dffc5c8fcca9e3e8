"""A pytest plugin that records how close each test comes to its bounds.

    python -m pytest -p benchmarks.margins ...

It watches comparisons by `np.testing.assert_allclose`, `pytest.approx` and the fixture `within`. To
the file that KINOFLOW_MARGINS names it writes JSON: by test, the worst value and its bound.
KINOFLOW_SEED, times 1000, is added to the seeds of NumPy and Keras.
"""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kinoflow.system import files

Margins = dict[str, dict[str, tuple[float, float]]]

found: Margins = {}
failed: list[str] = []
_running = ""


def record(what: str, value: float, bound: float) -> None:
    """Keep, for the running test, the value that comes closest to its bound."""
    margins = found.setdefault(_running, {})
    old, most = margins.get(what, (0.0, 1.0))
    if value / bound >= old / most:
        margins[what] = (value, bound)


def pytest_configure() -> None:
    _watch_comparisons()
    _shift_seeds(int(os.environ.get("KINOFLOW_SEED", "0")))


def pytest_runtest_setup(item: pytest.Item) -> None:
    global _running  # noqa: PLW0603
    _running = item.nodeid


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        failed.append(report.nodeid)
    if report.when == "call":
        for what, (value, bound) in report.user_properties:  # type: ignore[misc]
            record(what, value, bound)  # type: ignore[has-type]


def pytest_sessionfinish() -> None:
    files.write_json(Path(os.environ["KINOFLOW_MARGINS"]), {"found": found, "failed": failed})


def _watch_comparisons() -> None:
    # the class of what `approx` returns for numbers has no public name
    scalar: Any = type(pytest.approx(1.0))
    allclose, equals = np.testing.assert_allclose, scalar.__eq__

    def watched(
        actual: Any, desired: Any, rtol: float = 1e-7, atol: float = 0, **more: Any
    ) -> None:
        apart = np.abs(np.asarray(actual, float) - np.asarray(desired, float))
        allowed = atol + rtol * np.abs(np.asarray(desired, float))
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.broadcast_to(apart / allowed, apart.shape)
        if share.size and np.isfinite(share).all():
            worst = np.unravel_index(share.argmax(), share.shape)
            bound = np.broadcast_to(allowed, apart.shape)[worst]
            record("difference", float(apart[worst]), float(bound))
        allclose(actual, desired, rtol=rtol, atol=atol, **more)

    def watched_equals(self: Any, actual: Any) -> bool:
        tolerance = float(self.tolerance)
        if isinstance(actual, float) and np.isfinite(tolerance) and tolerance > 0:
            record("difference", abs(float(actual) - float(self.expected)), tolerance)
        return bool(equals(self, actual))

    np.testing.assert_allclose = watched  # type: ignore[assignment]
    scalar.__eq__ = watched_equals


def _shift_seeds(by: int) -> None:
    draws, seeds = np.random.default_rng, keras.utils.set_random_seed

    def shifted(seed: Any = None) -> np.random.Generator:
        return draws(seed + 1000 * by if isinstance(seed, int) else seed)

    np.random.default_rng = shifted
    keras.utils.set_random_seed = lambda seed: seeds(seed + 1000 * by)
