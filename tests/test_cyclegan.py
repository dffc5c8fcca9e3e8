"""CycleGAN: its networks, what it is trained on, and that a killed training goes on."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from kinoflow.style import flow, settings
from kinoflow.style.cyclegan import model, translate, truth
from kinoflow.style.cyclegan.batches import UnpairedBatches, flow_as_places
from kinoflow.style.cyclegan.networks import discriminator, generator
from kinoflow.style.cyclegan.pool import Pool
from kinoflow.style.cyclegan.store import ROWS, Moments, Store
from kinoflow.style.cyclegan.training import Outputs, train
from kinoflow.style.settings import DOMAINS, CycleGan
from kinoflow.system.errors import UserError
from kinoflow.training.checkpoints import Checkpoints
from tests.conftest import ROOT

SIZE = 16
SMALL = CycleGan(
    filters=2, blocks=1, halvings=1, discriminator_filters=4, patch=16, epochs=3, steps=4,
    batch_size=2, learning_rate=0.01, cycle=1.0, identity=1.0, temporal=5.0, pool=3, ema=0.8,
)  # fmt: skip
# trains as below, and is killed once the second epoch is saved
KILLED = """
import os, signal, sys
from pathlib import Path
from kinoflow.system import terminal
terminal.quiet()
from kinoflow.training.checkpoints import Checkpoints
from tests.test_cyclegan import trained
save = Checkpoints.save
def saved(self, model, history):
    save(self, model, history)
    if len(history) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Checkpoints.save = saved
trained(Path(sys.argv[1]))
"""


def spots(seed: int, count: int, frames: int, bright: bool) -> np.ndarray:
    """Films of a spot that moves right: dark on bright, or bright on dark."""
    rng = np.random.default_rng(seed)
    films = np.full((count, frames, SIZE, SIZE, 3), 40 if bright else 200, np.uint8)
    for film in films:
        x, y = rng.integers(1, SIZE - frames - 4), rng.integers(1, SIZE - 5)
        for time, frame in enumerate(film):
            frame[y : y + 4, x + time : x + time + 4] = 220 if bright else 30
    return films


def stored(folder: Path) -> Store:
    """A store of such films."""
    folder.mkdir(parents=True, exist_ok=True)
    store, rows = Store(folder), []
    for number, domain in enumerate(DOMAINS):
        for side, count in (("train", 8), ("val", 2), ("test", 2)):
            frames = 2 if side == "train" else 4
            store.write(domain, side, spots(number, count, frames, domain == "b"))
            rows += [(domain, side, f"g{row}", f"{row}.avi", "", 0) for row in range(count)]
    store.finish(pd.DataFrame(rows, columns=[*ROWS.columns]))
    return store


def trained(folder: Path, settings: CycleGan = SMALL) -> Path:
    """Train in a folder; returns where the networks are."""
    outputs = Outputs(folder / "networks", folder / "curves", folder / "checkpoints")
    train(settings, stored(folder / "frames"), outputs, seed=3)
    return outputs.networks


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def networks(whole: Path) -> Path:
    return trained(whole)


def weights(path: Path) -> list[np.ndarray]:
    return translate.load(path).network.get_weights()


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(
    networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    assert not (tmp_path / "networks").exists()
    resumed = trained(tmp_path)
    assert "going on after epoch 2" in capsys.readouterr().err
    for name in ("a_to_b.keras", "b_to_a.keras"):
        pairs = zip(weights(resumed / name), weights(networks / name), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs), name
    assert (resumed / "history.csv").read_bytes() == (networks / "history.csv").read_bytes()
    assert not (tmp_path / "checkpoints").exists()


def test_a_step_judges_by_the_weights_from_before_its_update(tmp_path: Path) -> None:
    # an update that overtakes the losses changes some of these steps, not all
    store = stored(tmp_path)
    batches = UnpairedBatches(
        store.moments("a"), store.moments("b"), size=2, crop=None, steps=2, temporal=True, seed=3
    )
    cyclegan = model.compiled(SMALL, batches.shape, seed=3, steps=100)
    variables = [*cyclegan.variables, *cyclegan.optimizer.variables]
    first = [keras.ops.convert_to_numpy(each) for each in variables]
    taken = [batches[0][0], batches[1][0]]

    def scores() -> list[float]:
        for variable, value in zip(variables, first, strict=True):
            variable.assign(value)
        cyclegan.reset_metrics()
        return [float(v) for one in taken for v in cyclegan.train_on_batch(one)]

    expected = scores()
    assert all(scores() == expected for _ in range(100))


def test_what_is_kept_are_the_averages_over_the_training(tmp_path: Path) -> None:
    def moved(ema: float) -> float:
        settings = SMALL.model_copy(update={"ema": ema, "temporal": 0.0, "epochs": 2})
        first = model.compiled(settings, (SIZE, SIZE), seed=3, steps=8).a_to_b.get_weights()
        last = weights(trained(tmp_path / str(ema), settings) / "a_to_b.keras")
        return sum(float(np.abs(y - x).sum()) for x, y in zip(first, last, strict=True))

    # the average of so few steps is still near the first one
    assert moved(0.999) < moved(0) / 2


def test_losses_and_sample_pictures_are_drawn(networks: Path, whole: Path) -> None:
    plots = whole / "curves" / "plots"
    for name in (*model.SCORES, "loss"):
        curve = pd.read_csv(plots / "metrics" / f"{name}.tsv", sep="\t")
        assert list(curve["step"]) == [1, 2, 3]
        assert np.isfinite(curve[name]).all()
    assert [*plots.rglob("samples.png")]


def test_the_same_training_is_not_done_twice(networks: Path, whole: Path) -> None:
    outputs = Outputs(networks, None, whole / "checkpoints")
    assert train(SMALL, Store(whole / "frames"), outputs, seed=3) is None


@pytest.mark.parametrize("shape", [(16, 16), (19, 33), (5, 40)])
def test_a_generator_repaints_pictures_of_any_size(networks: Path, shape: tuple[int, int]) -> None:
    translator = translate.load(networks / "a_to_b.keras")
    pictures = np.random.default_rng(0).random((2, *shape, 3), dtype=np.float32)
    made = translator(pictures)
    assert made.shape == pictures.shape
    assert 0 <= made.min() <= made.max() <= 1
    frames = (pictures * 255).astype(np.uint8)
    assert translator.film(frames, batch=1).shape == frames.shape


def test_what_is_no_generator_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="make style"):
        translate.load(tmp_path / "none.keras")
    (tmp_path / "text.keras").write_text("text")
    with pytest.raises(UserError, match="no generator"):
        translate.load(tmp_path / "text.keras")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]).save(tmp_path / "dense.keras")
    with pytest.raises(UserError, match="no generator"):
        translate.load(tmp_path / "dense.keras")


def test_a_training_that_diverges_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoints, "save", lambda *_: pytest.fail("a wrong epoch is saved"))
    wild = SMALL.model_copy(update={"learning_rate": 1e30, "temporal": 0.0})
    outputs = Outputs(tmp_path / "networks", None, tmp_path / "checkpoints")
    with pytest.raises(UserError, match="lower style.cyclegan.learning_rate"):
        train(wild, stored(tmp_path / "frames"), outputs, seed=3)
    shutil.rmtree(tmp_path / "frames")


def test_first_weights_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # as if another thread drew from Keras' seeds right after they were set
    monkeypatch.setattr(keras.utils, "set_random_seed", lambda _: None)
    first, same, other = (
        [
            keras.ops.convert_to_numpy(weights)
            for weights in model.compiled(SMALL, (16, 16), seed, 4).trainable_variables
        ]
        for seed in (3, 3, 4)
    )
    pairs = zip(first, same, strict=True)
    assert all(np.array_equal(one, again) for one, again in pairs)
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("patch", [16, 34, 70, 142])
def test_a_discriminator_judges_patches_of_that_size(patch: int) -> None:
    # what one judgement sees, counted back from it through the convolutions
    network = discriminator(filters=2, patch=patch)
    seen = 1
    for layer in reversed(network.layers):
        if isinstance(layer, keras.layers.Conv2D):
            seen = (seen - 1) * layer.strides[0] + layer.kernel_size[0]
    assert seen == patch
    side = 2 * patch
    assert network.compute_output_shape((1, side, side, 3))[1] > 1


def test_a_generator_of_the_paper_has_its_number_of_weights() -> None:
    # 11.378 million in the authors' code; transposed convolutions have as many as ours
    assert generator().count_params() == pytest.approx(11.378e6, rel=0.01)


def test_a_pool_gives_new_fakes_back_until_it_is_full_and_then_earlier_ones_as_well() -> None:
    pool = Pool(6, 2, 2, seed=1)
    fakes = [np.full((2, 2, 2, 3), number, np.float32) for number in range(1, 60)]
    given = [keras.ops.convert_to_numpy(pool(each))[:, 0, 0, 0] for each in fakes]
    for number in (1, 2, 3):
        assert given[number - 1].tolist() == [number, number]
    later = np.array(given[3:])
    numbers = np.arange(4, 60)[:, None]
    assert (later <= numbers).all()
    assert (later >= 1).all()
    earlier = (later < numbers).mean()
    assert 0.35 < earlier < 0.65


def test_warping_by_places_is_warping_by_flow() -> None:
    rng = np.random.default_rng(2)
    picture = rng.random((9, 12, 3), dtype=np.float32)
    backward = rng.normal(0, 2, (9, 12, 2)).astype(np.float32)
    places, shares = flow_as_places(backward)
    warped = model.warp(keras.ops.convert_to_tensor(picture[None]), places[None], shares[None])
    # OpenCV rounds positions to 1/32 of a pixel
    expected = flow.warp(picture, backward)
    assert np.abs(keras.ops.convert_to_numpy(warped)[0] - expected).max() < 0.05


def batches(**changes) -> UnpairedBatches:
    a, b = (Moments(spots(seed, 6, 2, bright=bool(seed))) for seed in (0, 1))
    options = {"size": 3, "crop": None, "steps": None, "temporal": False, "seed": 5}
    return UnpairedBatches(a, b, **(options | changes))


def test_batches_depend_on_the_seed_and_the_epoch_alone() -> None:
    some, same, others = batches(), batches(), batches(seed=6)
    first = some[0][0]["a"]
    assert np.array_equal(first, same[0][0]["a"])
    assert not np.array_equal(first, others[0][0]["a"])
    some.set_epoch(1)
    assert not np.array_equal(first, some[0][0]["a"])
    some.set_epoch(0)
    assert np.array_equal(first, some[0][0]["a"])


def test_an_epoch_shows_all_pictures_of_a_domain() -> None:
    some = batches()
    seen = np.concatenate([some[index][0]["a"] for index in range(len(some))])
    # mirrored or not, each spot is at its own height
    assert len({tuple(each.mean(axis=(1, 2)).round(3)) for each in seen}) == len(
        {tuple(f[1].mean(axis=(1, 2)).round(1)) for f in spots(0, 6, 2, bright=False)}
    )


def test_frames_before_are_carried_to_where_the_picture_shows_them() -> None:
    some = batches(temporal=True, size=6)
    batch = some[0][0]
    warped = keras.ops.convert_to_numpy(
        model.warp(
            keras.ops.convert_to_tensor(batch["b_before"]), batch["b_places"], batch["b_shares"]
        )
    )
    visible = batch["b_visible"]
    assert visible.mean() > 0.3
    apart = (np.abs(warped - batch["b"]) * visible).mean()
    assert apart < np.abs(batch["b_before"] - batch["b"]).mean() / 2


def test_a_crop_shows_a_part_of_a_picture_and_nothing_from_outside_is_carried_into_it() -> None:
    some = batches(temporal=True, crop=8)
    batch = some[0][0]
    assert batch["a"].shape == (3, 8, 8, 3)
    assert batch["a_places"].max() < 64
    assert batch["a_visible"].shape == (3, 8, 8, 1)


def test_similarity_knows_the_same_picture_from_others() -> None:
    rng = np.random.default_rng(4)
    picture = rng.random((40, 50, 3), dtype=np.float32)
    assert truth.similarity(picture, picture) == pytest.approx(1)
    noisy = np.clip(picture + rng.normal(0, 0.1, picture.shape), 0, 1).astype(np.float32)
    other = rng.random(picture.shape, dtype=np.float32)
    assert 0.5 < truth.similarity(noisy, picture) < 0.99
    assert abs(truth.similarity(other, picture)) < 0.1


def test_similarity_is_that_of_tensorflow(within: Callable[[str, float, float], None]) -> None:
    import tensorflow as tf

    rng = np.random.default_rng(4)
    x, y = rng.random((2, 40, 50, 3), dtype=np.float32)
    y = (x + y) / 2
    expected = float(tf.image.ssim(x, y, max_val=1.0))
    within("SSIM", abs(truth.similarity(x, y) - expected), 1e-4)


def test_colour_transfer_gives_a_picture_the_colours_of_others() -> None:
    rng = np.random.default_rng(5)
    warm = rng.integers(100, 160, (3, 20, 20, 3), dtype=np.uint8) + np.array([60, 0, 0], np.uint8)
    cold = rng.random((20, 20, 3), dtype=np.float32) * 0.3 + np.array([0, 0, 0.4], np.float32)
    wanted = truth.colours_of(warm)
    made = truth.recoloured(cold, wanted)
    got = truth.colours_of(np.rint(made[None] * 255).astype(np.uint8))
    assert np.allclose(got.mean, wanted.mean, atol=2)
    assert np.allclose(got.spread, wanted.spread, atol=2)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"a": {"look": "oil"}}, "style.a.look"),
        ({"a": {"look": "plain", "folder": "x"}}, "look and folder are given"),
        ({"a": {}}, "none is given"),
        ({"b": {"look": "plain"}}, "nothing to translate"),
        ({"width": 66}, "no multiple of 4"),
        ({"cyclegan": {"crop": 128}}, "larger than the pictures"),
        ({"cyclegan": {"pool": 2, "batch_size": 4}}, "smaller than batch_size"),
        ({"val": 0.6, "test": 0.5}, "leave nothing to train on"),
        ({"cyclegan": {"epoch": 3}}, "did you mean epochs?"),
    ],
)
def test_mistakes_in_settings_are_told_in_a_line(values: dict, told: str) -> None:
    with pytest.raises(UserError, match=told.replace("?", r"\?")) as raised:
        settings.of(values, Path("params.yaml"))
    assert "\n" not in str(raised.value)
