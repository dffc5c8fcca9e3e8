"""Models answer, learn, train, save and stream alike on the other backends that Keras has here.

JAX compiles every operation, so there this takes half an hour; without JAX and torch, nothing.
"""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "name", ["models", "layers", "motion", "convlstm", "streaming", "bundle", "training"]
)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_models_pass_their_tests_on_another_backend(backend: str, name: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", f"tests/test_{name}.py"],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
