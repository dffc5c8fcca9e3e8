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
from kinoflow.config import Candidate
from kinoflow.models import MODELS
from kinoflow.video import Frames
from tests.networks import (
    CLIP,
    SMALL,
    answers,
    build,
    noise,
    save_bundle,
    shared_model,
    small_model,
)

JAX = keras.backend.backend() == "jax"
SMALLER = replace(CLIP, frames=4, height=32, width=36)

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
    ("lrcn", {"pooling": "attention", "batch_norm": True, "inputs": "both"}),
    ("convlstm", {"pooling": "attention", "batch_norm": True, "inputs": "both"}),
    ("vgg_lstm", {"backbone": "VGG16"}),
    ("r3d", {"inputs": "frames"}),
    ("r2plus1d", {"widened": True}),
    ("csn", {"variant": "ir"}),
    ("movinet", {"inputs": "frames"}),
]
ALL: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in MODELS] + VARIANTS
NAMES = [name + "".join(f"-{key}={value}" for key, value in extra.items()) for name, extra in ALL]
every = pytest.mark.parametrize(("name", "extra"), ALL, ids=NAMES)


def coloured() -> Frames:
    """Four clips of coloured squares that wander at four speeds."""
    squares = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), dtype=np.uint8)
    pictures = squares.repeat(8, axis=1).repeat(8, axis=2)
    return np.stack(
        [
            [np.roll(picture, 2 * speed * frame, axis=1) for frame in range(CLIP.frames)]
            for speed, picture in enumerate(pictures)
        ]
    )


@every
def test_answers_are_probabilities_and_the_same_from_a_bundle(
    name: str, extra: dict[str, Any], tmp_path: Path
) -> None:
    model = shared_model(name, **extra)
    assert model.input_shape[1:] == CLIP.shape
    for count in (1, 3):
        answer = answers(model, noise(count))
        assert answer.dtype == np.float32
        assert answer.shape == (count, 5)
        np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
        assert (answer > 0).all()
    save_bundle(tmp_path / "bundle", model, CLIP)
    loaded = bundle.load(tmp_path / "bundle")
    assert loaded.labels == tuple("ABCDE")
    np.testing.assert_allclose(loaded.predict(noise()), answers(model, noise()), atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_may_see_less_than_the_store_holds(name: str) -> None:
    model = small_model(name, CLIP, SMALLER)
    assert model.input_shape[1:] == (SMALLER.frames, CLIP.height, CLIP.width, 3)
    answer = answers(model, noise()[:, : SMALLER.frames])
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)


@every
def test_every_weight_learns_and_a_few_clips_are_learned_by_heart(
    name: str, extra: dict[str, Any], within: Callable[[str, float, float], None]
) -> None:
    model = shared_model(name, **extra)
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
    model = build(Candidate(model=name), CLIP, 5)
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=not JAX)
    # one of these clips does not move, and at full depth what it lacks is multiplied many times
    within("loss", max(islice(losses(model), 4)), 10)


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
    masked = replace(CLIP, padding="mask")
    padded, whole = (
        small_model(name, masked, **extra),
        small_model(name, replace(masked, frames=4), **extra),
    )
    for to, weight in zip(whole.weights, padded.weights, strict=True):
        # vectors for places in time are the one thing that grows with the clip
        value = keras.ops.convert_to_numpy(weight)
        to.assign(value[tuple(slice(side) for side in to.shape)])
    clip = noise()
    clip[:, 4:] = 0
    np.testing.assert_allclose(answers(padded, clip), answers(whole, clip[:, :4]), atol=1e-5)
    black = np.zeros_like(clip)
    assert np.isfinite(answers(padded, black)).all()


def test_the_order_of_frames_counts_but_for_votes_and_moments() -> None:
    forward, backward = noise(), noise()[:, ::-1]
    for name in SMALL.keys() - {"i3d"}:  # whose inflated kernels begin alike to both sides
        model = shared_model(name)
        apart = abs(answers(model, forward) - answers(model, backward)).max()
        assert (apart < 1e-5) == (name in {"frame_voting", "frame_moments"}), name
