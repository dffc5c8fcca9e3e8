"""What layers compute in on a GPU may be 16 bits; the answers are nearly the same."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from kinoflow import bundle
from kinoflow.models.registry import MODULES
from serving.mixing import mixed
from tests.networks import CLIP, noise, save_bundle, small_model


@pytest.fixture
def saved(name: str, tmp_path: Path) -> bundle.Bundle:
    taken = replace(CLIP, frames=4)
    save_bundle(tmp_path / "b", small_model(name, CLIP, taken), taken, views=2)
    return bundle.load(tmp_path / "b")


def weighted(model: keras.Model) -> list[keras.Layer]:
    """Its layers with weights, those of models in it as well."""
    found = []
    for layer in model.layers:
        found += (
            weighted(layer) if isinstance(layer, keras.Model) else [layer] * bool(layer.weights)
        )
    return found


@pytest.mark.parametrize("name", MODULES)
def test_every_network_answers_nearly_alike_in_16_bits(saved: bundle.Bundle, name: str) -> None:
    exact = saved.predict(noise(2))
    # on a processor, TensorFlow is slow in float16, and pools none over time
    precisions = ["bfloat16", *["float16"] * (name in {"lrcn", "r2plus1d", "timesformer"})]
    for precision in precisions:
        coarse = mixed(saved, precision)
        *before, last = weighted(coarse.model)
        assert {layer.compute_dtype for layer in before} <= {precision}
        assert last.compute_dtype == "float32"
        answers = coarse.predict(noise(2))
        assert answers.dtype == np.float32
        np.testing.assert_allclose(answers, exact, atol=0.02)
        np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", ["c3d"])
def test_in_32_bits_nothing_changes(saved: bundle.Bundle) -> None:
    assert mixed(saved, "float32") is saved
