"""Networks of every architecture without some channels or weights: smaller, and as good."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from kinoflow import bundle
from kinoflow.bundle import Bundle
from kinoflow.compress import exporting, rewrite, shrink
from kinoflow.compress.channels import Graph, Numbers
from kinoflow.compress.exporting import Clips
from kinoflow.compress.importance import by_size, by_taylor
from kinoflow.compress.prune import pruned
from kinoflow.compress.settings import FineTune
from kinoflow.compress.sparse import compressed_bytes, kernels, sparse
from kinoflow.config import Params, Run
from kinoflow.models.registry import MODULES
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.training.fit import TrainingData
from tests.networks import CLIP, answers, make_sure, noise, save_bundle, small_model, sure_model
from tests.training import LABELS, moving, settings, train

# hand-made features and a linear head: each of them counts, and none is made by weights
FIXED = "motion_histograms"
PRUNABLE = [name for name in MODULES if name != FIXED]
# one of each kind: residuals, recurrence, attention, a network within the network, a stream
SHORT = ("r2plus1d", "lrcn", "timesformer", "i3d", "movinet")


def zero(graph: Graph, gone: Numbers) -> None:
    """Make channels zero in every clip, and let batch normalisation have seen that."""
    for axis in graph.axes:
        weight = axis.layer.weights[axis.weight]
        value = np.moveaxis(keras.ops.convert_to_numpy(weight).copy(), axis.axis, 0)
        dead = np.isin(graph.roots(axis.numbers), gone)
        if axis.role == "makes":
            value[dead] = 0
        elif weight.name == "moving_mean" and not axis.layer.center:
            # of moments over time, the deviation of a feature that is always the same
            value[dead] = np.where(np.arange(dead.sum()) < dead.sum() // 2, 0, 1e-3)
        weight.assign(np.moveaxis(value, 0, axis.axis))


def half(graph: Graph) -> Numbers:
    """Half of the channels of each group, in whole groups of normalisation."""
    rng = np.random.default_rng(0)
    gone = []
    for group in graph.groups():
        parts = rng.permutation(np.unique(group.parts))
        gone.append(group.channels[np.isin(group.parts, parts[: len(parts) // 2])])
    return np.concatenate(gone)


@pytest.mark.parametrize("name", PRUNABLE)
def test_without_channels_that_are_zero_a_model_answers_as_before(name: str) -> None:
    model = small_model(name)
    graph = shrink.channels_of(model)
    gone = half(graph)
    zero(graph, gone)
    make_sure(model, noise(8))
    smaller = shrink.without(model, graph, gone)
    expected = answers(model, noise(3))
    assert np.ptp(expected, axis=0).max() > 0.1  # what is left still tells clips apart
    np.testing.assert_allclose(answers(smaller, noise(3)), expected, atol=1e-4)
    assert smaller.count_params() < 0.9 * model.count_params()
    # and other channels would have made a difference
    wrong = np.setdiff1d(np.concatenate([group.channels for group in graph.groups()]), gone)
    other = answers(shrink.without(model, graph, wrong[: len(gone)]), noise(3))
    assert np.abs(other - expected).max() > 1e-3


def smaller_bundle(name: str, folder: Path) -> tuple[keras.Model, Path]:
    """A model, and the bundle of it with half of its channels."""
    model = sure_model(name, small=True)
    graph = shrink.channels_of(model)
    value = by_size(graph)
    stay = [shrink.spared(group, value, len(group.channels) // 2) for group in graph.groups()]
    everyone = np.concatenate([group.channels for group in graph.groups()])
    gone = np.setdiff1d(everyone, np.concatenate(stay))
    save_bundle(folder, shrink.without(model, graph, gone), CLIP)
    return model, folder


def check_loads_and_exports(name: str, folder: Path) -> None:
    model, smaller = smaller_bundle(name, folder / "smaller")
    loaded = bundle.load(smaller)
    assert loaded.model.count_params() < 0.85 * model.count_params()
    shown = noise(3)
    assert np.isfinite(loaded.predict(shown)).all()
    form = exporting.export(smaller, folder / "form", "openvino", Clips(shown, "noise"))
    np.testing.assert_allclose(form.predict(shown), loaded.predict(shown), atol=1e-4)


@pytest.mark.parametrize("name", SHORT)
def test_a_smaller_model_loads_without_its_builder_and_exports(name: str, tmp_path: Path) -> None:
    check_loads_and_exports(name, tmp_path)


def test_every_smaller_model_loads_and_exports(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--soak"):
        pytest.skip("`make soak` exports every architecture without half of its channels")
    for name in PRUNABLE:
        check_loads_and_exports(name, tmp_path / name)


# === Trained models ===


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, defaults: Params) -> tuple[Bundle, Run]:
    folder = tmp_path_factory.mktemp("trained")
    candidate = {"model": "r2plus1d", "options": {"filters": [8, 16]}}
    params = settings(defaults, candidate, epochs=6, learning_rate=0.01)
    train(params, folder)
    return bundle.load(folder / "m"), params.resolve("a")


def data_of(original: Bundle) -> TrainingData:
    clips = original.folder.parent / "clips"
    return TrainingData(LABELS, moving(clips, 32, 0), moving(clips, 16, 1), "data", 16)


def right(model: Bundle, folder: Path) -> float:
    test = moving(folder, 20, 2)
    return float((model.predict(test.read(np.arange(20))).argmax(axis=1) == test.labels).mean())


FEW = FineTune(epochs=4, learning_rate=0.005)


@pytest.mark.parametrize("criterion", ["size", "taylor"])
def test_half_of_the_channels_will_do(
    criterion: str, trained: tuple[Bundle, Run], tmp_path: Path
) -> None:
    original, run = trained
    before = files.folder_md5(original.folder)
    found = pruned(original, run, data_of(original), 0.5, FEW, tmp_path / "m", criterion)  # type: ignore[arg-type]
    assert found.model.count_params() < 0.35 * original.model.count_params()
    assert right(original, tmp_path) - right(found, tmp_path) <= 0.1
    # all but the temperature is the original's
    same = found.description.model_copy(update={"temperature": original.description.temperature})
    assert same == original.description
    assert found.description.temperature != original.description.temperature
    assert files.folder_md5(original.folder) == before


def test_a_large_share_of_zeros_stays_to_the_end_and_shrinks_the_file(
    trained: tuple[Bundle, Run], tmp_path: Path
) -> None:
    original, run = trained
    found = sparse(original, run, data_of(original), 0.8, FEW, tmp_path / "m")
    values = [keras.ops.convert_to_numpy(kernel).ravel() for kernel in kernels(found.model)]
    assert np.mean(np.concatenate(values) == 0) == pytest.approx(0.8, abs=0.01)
    assert all(value.any() for value in values)
    assert found.model.count_params() == original.model.count_params()
    sizes = [compressed_bytes(each.folder / bundle.MODEL) for each in (original, found)]
    assert sizes[1] < 0.6 * sizes[0]
    assert right(original, tmp_path) - right(found, tmp_path) <= 0.1


def test_the_same_pruning_gives_the_same_bytes(trained: tuple[Bundle, Run], tmp_path: Path) -> None:
    original, run = trained
    once = FineTune(epochs=1)
    for folder in ("one", "two"):
        pruned(original, run, data_of(original), 0.25, once, tmp_path / folder)
    one, two = (files.md5(tmp_path / name / bundle.MODEL) for name in ("one", "two"))
    assert one == two


def test_zero_channels_are_worth_nothing_to_the_loss(trained: tuple[Bundle, Run]) -> None:
    original, run = trained
    model = bundle.load(original.folder).model
    graph = shrink.channels_of(model)
    gone = half(graph)
    zero(graph, gone)
    value = by_taylor(model, graph, run, data_of(original))
    assert np.abs(value[gone]).max() == 0
    groups = graph.groups()
    stay = [shrink.spared(group, value, len(group.channels) // 2) for group in groups]
    assert not np.isin(np.concatenate(stay), gone).any()


def test_a_model_without_channels_that_can_go_is_refused_in_a_line(
    trained: tuple[Bundle, Run], tmp_path: Path
) -> None:
    original, run = trained
    fixed = replace(original, trained=sure_model(FIXED, small=True))
    with pytest.raises(UserError, match=r"^a cannot be pruned: its network has no channels"):
        pruned(fixed, run, data_of(original), 0.5, FEW, tmp_path / "m")
    with pytest.raises(UserError, match="has too few channels to lose a share of 0.01"):
        pruned(original, run, data_of(original), 0.01, FEW, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_frozen_backbone_loses_channels_and_learns_again() -> None:
    model = sure_model("frame_voting", backbone="SqueezeNet")
    assert not model.get_layer("squeezenet").trainable
    graph = shrink.channels_of(model)
    smaller = shrink.without(model, graph, half(graph))
    assert smaller.count_params() < 0.4 * model.count_params()
    assert len(smaller.trainable_weights) == 2  # the head
    rewrite.thaw(smaller)
    assert len(smaller.trainable_weights) == len(smaller.weights)
