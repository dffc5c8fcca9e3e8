"""What holds for every architecture, on whichever backend Keras runs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kinoflow import bundle
from kinoflow.bundle import Description
from kinoflow.config import Candidate
from kinoflow.models import MODELS
from kinoflow.models.layers.causal import Stream
from kinoflow.system.errors import UserError
from kinoflow.training import export
from kinoflow.video import ClipSpec, Frames
from kinoflow.video.sampling import temporal_views
from tests.building import build

JAX = keras.backend.backend() == "jax"
STORED = ClipSpec(8, 40, 40)
SMALLER = replace(STORED, frames=4, height=32, width=36)

# the least that each can be made of, and its variants
SMALL: dict[str, dict[str, Any]] = {
    "frame_voting": {"filters": (8, 16), "pools": (4, 4), "dropout": 0.0},
    "frame_moments": {"filters": (8, 16), "pools": (4, 4), "dropout": 0.0},
    "motion_histograms": {"cells": 2, "bins": 4, "dropout": 0.0},
    "cnn_rnn": {"filters": (4, 8, 8), "units": 16, "dropout": 0.0},
    "cnn_lstm": {"filters": (4, 8, 8), "units": 16, "dropout": 0.0},
    "lrcn": {"units": 16, "dropout": 0.0},
    "convlstm": {"filters": (4, 6), "dropout": 0.0, "recurrent_dropout": 0.0},
    "vgg_lstm": {"filters": (8, 16), "units": 16, "dropout": 0.0},
    "resnet_lstm": {"filters": (8, 16), "units": 16, "dropout": 0.0},
    "c3d": {"filters": (8, 16), "units": 16, "dropout": 0.0},
    "r3d": {"filters": (8, 16), "dropout": 0.0},
    "r2plus1d": {"filters": (8, 16), "dropout": 0.0},
    "csn": {"filters": (8, 16), "dropout": 0.0},
    "i3d": {"dropout": 0.0},
    "timesformer": {"width": 16, "depth": 1, "heads": 2, "dropout": 0.0},
    "vivit": {"width": 16, "depth": 1, "temporal_depth": 1, "heads": 2, "dropout": 0.0},
    "movinet": {"filters": (8, 8), "expansion": 2, "dropout": 0.0},
}
# of Adam where 0.01 is too much: without normalisation between the layers, units go dark for good
# or the loss leaps, and when it is learned is luck
RATES = {"lrcn": 0.003, "vgg_lstm": 0.003, "resnet_lstm": 0.003, "i3d": 0.001}
LEARNED, STEPS = 0.05, 200  # the loss to get below, and within how many steps
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("frame_voting", {"vote": "mode"}),
    ("frame_voting", {"backbone": "SqueezeNet", "trainable": True, "units": (8, 8)}),
    ("frame_voting", {"flatten": True, "units": (8,)}),
    ("frame_moments", {"backbone": "SqueezeNet", "trainable": True}),
    ("motion_histograms", {"descriptors": ("mbh",)}),
    ("cnn_lstm", {"cell": "gru", "batch_norm": True, "dense": 8}),
    ("lrcn", {"pooling": "attention", "batch_norm": True, "differences": True}),
    ("convlstm", {"pooling": "attention", "batch_norm": True, "differences": True}),
    ("vgg_lstm", {"backbone": "VGG16"}),
    ("r3d", {"differences": False}),
    ("r2plus1d", {"widened": True}),
    ("csn", {"variant": "ir"}),
    ("movinet", {"differences": False}),
]
ALL: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in MODELS] + VARIANTS
NAMES = [name + "".join(f"-{key}={value}" for key, value in extra.items()) for name, extra in ALL]
every = pytest.mark.parametrize(("name", "extra"), ALL, ids=NAMES)


def clips(count: int = 2, spec: ClipSpec = STORED) -> Frames:
    return np.random.default_rng(0).integers(0, 256, (count, *spec.shape), dtype=np.uint8)


def coloured() -> Frames:
    """Four clips of coloured squares that wander at four speeds."""
    squares = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), dtype=np.uint8)
    pictures = squares.repeat(8, axis=1).repeat(8, axis=2)
    return np.stack(
        [
            [np.roll(picture, 2 * speed * frame, axis=1) for frame in range(STORED.frames)]
            for speed, picture in enumerate(pictures)
        ]
    )


def made(
    name: str, stored: ClipSpec = STORED, seen: ClipSpec | None = None, seed: int = 0, **extra: Any
) -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    seen = seen or stored
    candidate = Candidate(
        model=name,
        frames=seen.frames,
        height=seen.height,
        width=seen.width,
        options=SMALL[name] | extra,
    )
    return build(candidate, stored, 5)


def answers(model: keras.Model, seen: Frames) -> np.ndarray:
    # called as it is, since compiling takes longer than answering; a bundle's answers are compiled
    return np.asarray(keras.ops.convert_to_numpy(model(seen, training=False)))


@every
def test_answers_are_probabilities_and_the_same_from_a_bundle(
    name: str, extra: dict[str, Any], tmp_path: Path
) -> None:
    model = made(name, **extra)
    assert model.input_shape[1:] == STORED.shape
    for count in (1, 3):
        answer = answers(model, clips(count))
        assert answer.dtype == np.float32
        assert answer.shape == (count, 5)
        np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
        assert (answer > 0).all()
    save(tmp_path / "bundle", model, STORED)
    loaded = bundle.load(tmp_path / "bundle")
    assert loaded.labels == tuple("ABCDE")
    np.testing.assert_allclose(loaded.predict(clips()), answers(model, clips()), atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_may_see_less_than_the_store_holds(name: str) -> None:
    model = made(name, STORED, SMALLER)
    assert model.input_shape[1:] == (SMALLER.frames, STORED.height, STORED.width, 3)
    answer = answers(model, clips()[:, : SMALLER.frames])
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)


@every
def test_every_weight_learns_and_a_few_clips_are_learned_by_heart(
    name: str, extra: dict[str, Any], within: Callable[[str, float, float], None]
) -> None:
    model = made(name, **extra)
    before = [keras.ops.convert_to_numpy(weight).copy() for weight in model.trainable_variables]
    # two steps take less time than compiling them does; but JAX compiles every loop anew where it
    # may not keep it
    steps = losses(compiled(model, name, eagerly=bool(extra) and not JAX))
    first = list(islice(steps, 2))
    for old, weight in zip(before, model.trainable_variables, strict=True):
        new = keras.ops.convert_to_numpy(weight)
        assert np.isfinite(new).all(), weight.path
        assert not np.array_equal(old, new), weight.path
    if not extra:
        within("steps", by_heart(chain(first, steps)), STEPS)


def compiled(model: keras.Model, name: str, *, eagerly: bool = False) -> keras.Model:
    """The model, ready to learn at a rate that suits it."""
    model.compile(
        # Adam moves every weight that has a gradient by as much, however small that is
        keras.optimizers.Adam(RATES.get(name, 0.01), epsilon=1e-12),
        "sparse_categorical_crossentropy",
        run_eagerly=eagerly,
        # compiling with XLA, which training does not use either, takes longer than many steps
        jit_compile=JAX,
    )
    return model


def by_heart(losses: Iterator[float]) -> int:
    """How many steps it takes until the loss is small, or one more than there may be."""
    counted = enumerate(islice(losses, STEPS), start=1)
    return next((step for step, loss in counted if loss < LEARNED), STEPS + 1)


def losses(model: keras.Model) -> Iterator[float]:
    """The loss of each step of training on four clips, for as long as steps are asked for."""
    clip, label = coloured(), np.arange(4)
    while True:
        # else it were the mean over all steps
        model.reset_metrics()
        yield float(model.train_on_batch(clip, label))


@pytest.mark.parametrize("name", ["r2plus1d", "movinet"])
def test_clips_that_stand_still_do_not_upset_training(
    name: str, within: Callable[[str, float, float], None]
) -> None:
    keras.utils.set_random_seed(0)
    model = build(Candidate(model=name), STORED, 5)
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=not JAX)
    # one of these clips does not move, and at full depth what it lacks is multiplied many times
    within("loss", max(islice(losses(model), 4)), 10)


def save(
    folder: Path,
    model: keras.Model,
    seen: ClipSpec,
    views: int = 1,
    *,
    flip: bool = False,
    clip: ClipSpec = STORED,
) -> None:
    description = Description(
        name="test",
        labels=tuple("ABCDE"),
        clip=clip,
        frames=seen.frames,
        views=views,
        candidate={},
        seed=0,
        data="",
        versions={},
        metrics={},
        flip=flip,
    )
    export.save(folder, model, description, "epoch\n")


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("frame_voting", {}),
        ("frame_voting", {"vote": "mode"}),
        ("frame_moments", {}),
        ("motion_histograms", {"descriptors": ("hog", "hof", "mbh")}),
        ("cnn_rnn", {}),
        ("cnn_lstm", {"cell": "gru"}),
        ("lrcn", {}),
        ("lrcn", {"pooling": "attention"}),
        ("convlstm", {"pooling": "attention"}),
        ("convlstm", {"pooling": "attention", "batch_norm": True}),
        ("timesformer", {}),
        ("vivit", {}),
    ],
)
@pytest.mark.filterwarnings("error:.*destroy the mask")
def test_padding_is_passed_over(name: str, extra: dict[str, Any]) -> None:
    stored = replace(STORED, padding="mask")
    padded, whole = made(name, stored, **extra), made(name, replace(stored, frames=4), **extra)
    for to, weight in zip(whole.weights, padded.weights, strict=True):
        # vectors for places in time are the one thing that grows with the clip
        value = keras.ops.convert_to_numpy(weight)
        to.assign(value[tuple(slice(side) for side in to.shape)])
    seen = clips()
    seen[:, 4:] = 0
    np.testing.assert_allclose(answers(padded, seen), answers(whole, seen[:, :4]), atol=1e-5)
    black = np.zeros_like(seen)
    assert np.isfinite(answers(padded, black)).all()


@pytest.mark.parametrize("differences", [True, False])
def test_a_stream_answers_after_each_frame_as_the_clip_so_far(
    differences: bool, tmp_path: Path
) -> None:
    model = made("movinet", differences=differences)
    save(tmp_path / "bundle", model, STORED)
    stream = Stream(bundle.load(tmp_path / "bundle").model)
    clip = clips(1)[0]
    streamed = [stream(frame) for frame in clip]
    for frames in (1, 2, 5, 8):
        shorter = made("movinet", replace(STORED, frames=frames), differences=differences)
        shorter.set_weights(model.get_weights())
        expected = answers(shorter, clip[None, :frames])[0]
        np.testing.assert_allclose(streamed[frames - 1], expected, atol=1e-5)
    stream.reset()
    np.testing.assert_array_equal(stream(clip[0]), streamed[0])


def test_a_model_that_looks_ahead_cannot_stream() -> None:
    with pytest.raises(ValueError, match="lrcn has no causal layers"):
        Stream(made("lrcn"))


def test_equal_models_are_equal_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save(tmp_path / folder, made("r2plus1d"), STORED)
    one, other = ((tmp_path / folder / "model.keras").read_bytes() for folder in ("a", "b"))
    assert one == other


def test_views_and_mirrored_views_are_averaged(tmp_path: Path) -> None:
    seen = replace(STORED, frames=4)
    model = made("r2plus1d", STORED, seen)
    save(tmp_path / "bundle", model, seen, views=2, flip=True)
    views = temporal_views(8, 4, 2)
    assert [list(view) for view in views] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    sides = [clips(), clips()[:, :, :, ::-1]]
    expected = np.mean([answers(model, side[:, view]) for view in views for side in sides], axis=0)
    np.testing.assert_allclose(
        bundle.load(tmp_path / "bundle").predict(clips()), expected, atol=1e-6
    )


def test_a_batch_answers_as_its_clips_alone(tmp_path: Path) -> None:
    save(tmp_path / "bundle", made("r2plus1d"), STORED)
    loaded = bundle.load(tmp_path / "bundle")
    many = clips(5)
    alone = np.concatenate([loaded.predict(many[k : k + 1]) for k in range(5)])
    np.testing.assert_array_equal(loaded.predict(many), alone)


def test_the_order_of_frames_counts_but_for_votes_and_moments() -> None:
    forward, backward = clips(), clips()[:, ::-1]
    for name in MODELS.keys() - {"i3d"}:  # whose inflated kernels begin alike to both sides
        model = made(name)
        apart = abs(answers(model, forward) - answers(model, backward)).max()
        assert (apart < 1e-5) == (name in {"frame_voting", "frame_moments"}), name


@pytest.mark.parametrize(("name", "weights"), [("lrcn", 73_060), ("convlstm", 44_524)])
def test_networks_are_as_large_as_published(name: str, weights: int) -> None:
    assert build(Candidate(model=name), ClipSpec(20, 64, 64), 4).count_params() == weights


def test_r2plus1d_when_widened_has_as_many_weights_as_r3d() -> None:
    spec = ClipSpec(16, 64, 64)
    full, halved, widened = (
        build(Candidate(model=name, options=options), spec, 4).count_params()
        for name, options in (("r3d", {}), ("r2plus1d", {}), ("r2plus1d", {"widened": True}))
    )
    assert widened == pytest.approx(full, rel=0.01)
    assert halved < 0.5 * full


def test_views_of_a_short_clip_are_of_its_frames_and_not_of_its_padding(tmp_path: Path) -> None:
    stored = replace(STORED, padding="mask")
    seen = replace(stored, frames=4)
    model = made("lrcn", stored, seen)
    save(tmp_path / "bundle", model, seen, views=2, clip=stored)
    loaded = bundle.load(tmp_path / "bundle")
    for shown, views in (
        (6, [[0, 1, 3, 4], [1, 2, 4, 5]]),
        (4, [[0, 1, 2, 3]]),
        (3, [[0, 1, 2, 7]]),
    ):
        clip = clips(1)
        clip[:, shown:] = 0
        expected = np.mean([answers(model, clip[:, view])[0] for view in views], axis=0)
        np.testing.assert_allclose(loaded.predict(clip)[0], expected, atol=1e-6)


def test_wrong_options_and_sizes_are_named() -> None:
    with pytest.raises(UserError, match="lrcn has no option depth; there are filters, pools"):
        build(Candidate(model="lrcn", options={"depth": 3}), STORED, 5)
    with pytest.raises(UserError, match="lrcn cannot be built"):
        build(Candidate(model="lrcn", options={"pools": [2, 2]}), STORED, 5)
    with pytest.raises(UserError, match="csn cannot be built: variant must be ip or ir"):
        build(Candidate(model="csn", options={"variant": "iq"}), STORED, 5)


def test_a_folder_that_is_no_bundle_and_wrong_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no trained model"):
        bundle.load(tmp_path)
    save(tmp_path / "bundle", made("lrcn"), STORED)
    with pytest.raises(ValueError, match="clips must be"):
        bundle.load(tmp_path / "bundle").predict(clips(2, ClipSpec(8, 16, 16)))
