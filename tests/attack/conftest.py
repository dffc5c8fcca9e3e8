"""Attacks on what kinoflow defends against: short by default, long with `make soak`."""

from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def count(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """How many rounds to run: the first number, or with --soak the second."""
    soak = request.config.getoption("--soak")
    return lambda short, long: long if soak else short
