"""int8 that keeps accuracy: layers that lose too much stay in float, or learn to be rounded."""

import gzip
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinoflow import bundle
from kinoflow.bundle import Bundle
from kinoflow.compress import clips, exporting, forms, quantise, rounding
from kinoflow.compress.aware import aware
from kinoflow.compress.exporting import Clips
from kinoflow.compress.quantise import Judge, Layers, Method, accurate
from kinoflow.compress.runner import runtime_openvino
from kinoflow.compress.settings import FineTune
from kinoflow.config import Params
from kinoflow.data.clips import ClipSet, load_sets
from kinoflow.models.registry import MODULES
from kinoflow.system.errors import UserError
from kinoflow.training import export
from kinoflow.training.fit import TrainingData
from kinoflow.video.spec import Frames
from kinoflow.workspace import Workspace
from tests.networks import CLIP, noise, save_bundle, small_model, spread, sure_model
from tests.training import LABELS, moving, recordings, settings, train


@pytest.fixture(scope="module")
def trained(defaults: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle, m, that tells clips by time alone, and its clips."""
    folder = tmp_path_factory.mktemp("trained")
    candidate = {"model": "c3d", "options": {"filters": [8], "units": 16, "dropout": 0.0}}
    train(settings(defaults, candidate, epochs=12, learning_rate=0.01), folder)
    return folder


@pytest.fixture(scope="module")
def hard(trained: Path) -> Bundle:
    """The same answers, but int8 is too coarse for one layer."""
    source = bundle.load(trained / "m")
    model = source.model
    spread(model, shown(trained, "train")[0])
    export.save(trained / "hard", model, source.description, "epoch\n")
    return bundle.load(trained / "hard")


def shown(trained: Path, side: str) -> tuple[Frames, ClipSet]:
    """Clips of the model: those it was trained on, validated on, or others."""
    count, seed = {"train": (32, 0), "val": (16, 1), "test": (40, 2)}[side]
    found = moving(trained / "clips", count, seed)
    return found.read(np.arange(count)), found


def right(model: Bundle, trained: Path) -> float:
    frames, truth = shown(trained, "test")
    return float((model.predict(frames).argmax(axis=1) == truth.labels).mean())


def in_int8(
    source: Bundle, trained: Path, target: Path, form: str, judge: Judge | None = None
) -> forms.Form:
    fitted = Clips(shown(trained, "train")[0], "clips of train")
    return exporting.export(
        source.folder,
        target,
        form,
        fitted,
        precision="int8",
        calibration=fitted,
        judge=judge,
        limits=exporting.Limits(1, 0),
    )


def test_int8_spares_attention_also_where_all_views_are_one_batch(tmp_path: Path) -> None:
    taken = replace(CLIP, frames=4)
    model = sure_model("timesformer", taken, small=True)
    save_bundle(tmp_path / "b", model, taken, views=3)
    shown = Clips(noise(8), "noise")
    form = exporting.export(
        tmp_path / "b", tmp_path / "f", "openvino", shown, precision="int8", calibration=shown
    )
    assert form.details.batch == 3
    assert form.details.largest_change < 0.05
    # with all 8 bits of weights, it answers so on processors with VNNI alone
    files = [(form.folder / name).read_bytes() for name in ("model.xml.gz", "model.bin")]
    graph = runtime_openvino.core().read_model(gzip.decompress(files[0]), files[1])
    constants = [node for node in graph.get_ops() if node.get_type_name() == "Constant"]
    weights = [each.data for each in constants if each.get_element_type().to_dtype() == np.int8]
    assert len(weights) == form.details.int8_layers
    assert max(abs(each.astype(int)).max() for each in weights) <= 64


@pytest.mark.parametrize("form", ["openvino", "onnx"])
def test_a_layer_that_int8_spoils_stays_in_float_if_there_is_a_judge(
    form: str, hard: Bundle, trained: Path, tmp_path: Path
) -> None:
    exact = right(hard, trained)
    assert exact > 0.9
    spoilt = in_int8(hard, trained, tmp_path / "spoilt", form)
    assert right(spoilt, trained) < exact - 0.2
    frames, truth = shown(trained, "val")
    judged = in_int8(hard, trained, tmp_path / "judged", form, Judge(frames, truth.labels))
    assert right(judged, trained) >= exact - 0.05
    before, after = spoilt.details, forms.load(tmp_path / "judged").details
    assert before.float_layers == 0 < after.float_layers
    assert 0 < after.int8_layers == before.int8_layers - after.float_layers


@pytest.mark.parametrize("form", ["openvino", "onnx"])
def test_int8_that_no_judge_takes_is_refused_in_a_line(
    form: str, hard: Bundle, trained: Path, tmp_path: Path
) -> None:
    frames, truth = shown(trained, "val")
    with pytest.raises(UserError) as problem:
        in_int8(hard, trained, tmp_path / "f", form, Judge(frames, truth.labels, loss=-1.0))
    assert re.fullmatch(r"int8 loses more than \S+% of 16 clips .*", str(problem.value))
    assert not (tmp_path / "f").exists()


def test_a_model_that_learns_to_be_rounded_loses_less(
    hard: Bundle, trained: Path, defaults: Params, tmp_path: Path
) -> None:
    candidate = {"model": "c3d", "options": {"filters": [8], "units": 16, "dropout": 0.0}}
    run = settings(defaults, candidate).resolve("a")
    sets = {side: shown(trained, side)[1] for side in ("train", "val")}
    data = TrainingData(LABELS, sets["train"], sets["val"], "data", 16)
    tuned = aware(hard, run, data, FineTune(epochs=20, learning_rate=0.01), tmp_path / "tuned")
    before = right(in_int8(hard, trained, tmp_path / "before", "openvino"), trained)
    after = right(in_int8(tuned, trained, tmp_path / "after", "openvino"), trained)
    assert after > before + 0.2
    # nothing of the rounding is left, and it is a bundle as any other
    assert tuned.model.get_config() == hard.model.get_config()
    assert tuned.description.model_copy(update={"temperature": 1.0}) == (
        hard.description.model_copy(update={"temperature": 1.0})
    )


@pytest.mark.parametrize("form", ["openvino", "onnx", "litert"])
def test_int8_takes_a_fraction_of_the_bytes(form: str, tmp_path: Path) -> None:
    source = tmp_path / "m"
    save_bundle(source, small_model("frame_voting", filters=(64, 128)), CLIP)
    compared = Clips(noise(8), "noise")
    made = [
        exporting.export(
            source,
            tmp_path / precision,
            form,
            compared,
            precision=precision,
            calibration=None if form == "litert" else compared,
            limits=exporting.Limits(1, 0),
        ).details
        for precision in ("float32", "int8")
    ]
    assert made[1].bytes < 0.4 * made[0].bytes
    assert 0 < made[1].largest_change < 0.05


# === The order in which layers are put back ===


def method(costs: dict[str, float], tried: list[tuple[str, ...]]) -> Method[str, tuple[str, ...]]:
    """Layers that each move answers by a cost; a network is the layers that are in float."""

    def answer(kept: Sequence[str], frames: Frames) -> Any:
        moved = sum(cost for layer, cost in costs.items() if layer not in kept)
        sure = np.linspace(0.51, 0.9, len(frames), dtype=np.float32) - np.float32(moved)
        return np.stack([sure, 1 - sure], axis=1)

    def fit(kept: Sequence[str]) -> tuple[str, ...]:
        tried.append(tuple(kept))
        return tuple(kept)

    def without(kept: tuple[str, ...], layer: str, frames: Frames) -> Any:
        return answer((*kept, layer), frames)

    return Method([*costs], fit, without, answer)


def judged(
    costs: dict[str, float], judge: Judge | None
) -> tuple[tuple[str, ...], Layers, list[tuple[str, ...]]]:
    tried: list[tuple[str, ...]] = []
    way = method(costs, tried)
    network, found = accurate(way, lambda frames: way.answer(tuple(costs), frames), judge)
    return network, found, tried


def test_the_layers_that_change_most_are_put_back_until_the_judge_is_content() -> None:
    costs = {"a": 0.001, "b": 0.2, "c": 0.002, "d": 0.1, "e": 0.0}
    network, found, tried = judged(costs, Judge(noise(40)))
    assert network == ("b", "d")
    assert found == Layers(in_int8=3, in_float=2)
    assert tried == [(), ("b",), ("b", "d")]
    network, found, _ = judged(costs, Judge(noise(40), loss=0.5))
    assert (network, found) == (("b",), Layers(4, 1))
    assert judged(costs, None)[1] == Layers(5, 0)


def test_int8_that_is_too_coarse_for_every_layer_is_refused_in_a_line() -> None:
    with pytest.raises(UserError, match=r"^int8 loses more than 1\.0% of 40 clips that it was not"):
        judged({"a": 0.3, "b": 0.3, "c": 0.3}, Judge(noise(40)))


def test_labels_that_were_wrong_before_cost_nothing() -> None:
    sure = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    moved = sure[:, ::-1]
    assert Judge(noise(3)).lost(sure, moved) == 1
    assert Judge(noise(3), np.array([1, 1, 1])).lost(sure, moved) == pytest.approx(-1 / 3)
    assert quantise.divergence(sure, sure) == 0
    assert quantise.divergence(sure, moved) > 1


# === What made int8 fail ===


@pytest.mark.parametrize("name", ["motion_histograms", "convlstm"])
def test_hand_made_products_are_left_in_float(name: str, tmp_path: Path) -> None:
    source = tmp_path / "m"
    smaller = type(CLIP)(CLIP.frames, 20, 20)
    model = small_model(name, CLIP, smaller)
    save_bundle(source, model, CLIP)
    fitted = Clips(noise(8), "noise")
    form = exporting.export(
        source,
        tmp_path / "f",
        "openvino",
        fitted,
        precision="int8",
        calibration=fitted,
        limits=exporting.Limits(1, 0),
    )
    assert form.details.int8_layers >= 1


# === Weights of 16 bits ===


@pytest.mark.parametrize("form", ["openvino", "onnx"])
def test_weights_of_16_bits_take_half_the_bytes_and_change_little(
    form: str, trained: Path, tmp_path: Path
) -> None:
    source = trained / "m"
    compared = Clips(shown(trained, "test")[0], "clips of test")
    large = sum(each.size for each in bundle.load(source).model.get_weights() if each.size > 255)
    whole = exporting.export(source, tmp_path / "whole", form, compared)
    changes = []
    for precision in ("float16", "bfloat16"):
        half = exporting.export(
            source, tmp_path / precision, form, compared, precision=precision
        ).details
        assert whole.details.bytes - half.bytes == pytest.approx(2 * large, abs=400)
        assert half.agreement == 1
        changes.append(half.largest_change)
    # of each weight, bfloat16 keeps three bits less
    assert 0 < changes[0] < changes[1] < 0.05


# === Training with rounding ===


@pytest.mark.parametrize("name", [*MODULES])
def test_every_architecture_rounds_and_comes_back_as_it_was(name: str) -> None:
    model = small_model(name)
    # what is 0 at first, as biases are, hides what is lost
    model.set_weights([each + np.float32(0.01 * (each.ndim == 1)) for each in model.get_weights()])
    shown = noise(2)
    network = rounding.rounding(model)
    assert [layer for layer in network.layers if isinstance(layer, rounding.Rounded)]
    rounding.fit(network, shown)
    exact, coarse = (np.asarray(each(shown, training=False)) for each in (model, network))
    assert 0 < np.abs(exact - coarse).max() < 0.2
    again = small_model(name, seed=1)
    rounding.copy_weights(network, again)
    np.testing.assert_array_equal(np.asarray(again(shown, training=False)), exact)


def test_gradients_pass_by_the_rounding_and_stop_beyond_the_range() -> None:
    import tensorflow as tf

    x = tf.Variable([0.26, -3.0, 3.0])
    with tf.GradientTape() as tape:
        y = rounding.rounded(x, 0.5, -2, 3)
    np.testing.assert_allclose(y, [0.5, -1.0, 1.5])
    np.testing.assert_array_equal(tape.gradient(y, x), [1, 0, 0])


# === Who judges ===


def test_validation_clips_judge_and_where_they_were_learned_others_do(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = bundle.load(trained / "m").description
    workspace = Workspace(tmp_path)
    assert clips.judge(workspace, description) is None
    recordings(workspace)
    labels, sets = load_sets(workspace, ("train", "val"))
    description = description.model_copy(update={"labels": labels})
    assert clips.judge(workspace, description) is None  # four clips say too little
    monkeypatch.setattr(clips, "LEAST", 4)
    found = clips.judge(workspace, description)
    assert found is not None
    assert found.truth is not None
    np.testing.assert_array_equal(found.frames, sets["val"].read(np.arange(len(sets["val"]))))
    np.testing.assert_array_equal(found.truth, sets["val"].labels)

    refitted = description.model_copy(update={"trained_on": ("train", "val")})
    # every training clip is one that int8 is fitted to
    assert clips.judge(workspace, refitted) is None
    monkeypatch.setattr(clips, "FITTED", 6)
    found = clips.judge(workspace, refitted)
    assert found is not None
    fitted = clips.of_side(workspace, refitted, "train", clips.FITTED)
    assert fitted is not None
    assert len(found.frames) == len(sets["train"]) - 6
    shared = {each.tobytes() for each in found.frames} & {each.tobytes() for each in fitted.frames}
    assert not shared
    other = description.model_copy(update={"labels": ("one", "two")})
    assert clips.judge(workspace, other) is None
