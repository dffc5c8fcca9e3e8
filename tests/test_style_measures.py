"""What measures of repainted films say about films of which we know how good they are."""

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.styles import STYLES
from kinoflow.models.layers.backbones import squeezenet
from kinoflow.style import measures
from kinoflow.style.features import Features
from kinoflow.style.flow import Motion
from kinoflow.style.losses import gram

Pictures = NDArray[np.float32]
SIDE = 48


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    """A network with random weights, which tell textures apart as well."""
    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.weights.h5"
    squeezenet((None, None, 3)).save_weights(path)  # type: ignore[arg-type]
    return Features(weights=str(path))


def pan(frames: int, step: int, seed: int = 0) -> Pictures:
    """A film that pans over noise by whole pixels."""
    noise = np.random.default_rng(seed).random((SIDE, SIDE + frames * step, 3), np.float32)
    return np.stack([noise[:, t * step : t * step + SIDE] for t in range(frames)])


def panned(frames: int, step: int) -> list[Motion]:
    backward = np.zeros((SIDE, SIDE, 2), np.float32)
    backward[..., 0] = step
    visible = np.ones((SIDE, SIDE), np.float32)
    visible[:, SIDE - step :] = 0  # comes into the picture
    return [Motion(backward, visible)] * (frames - 1)


def stripes(count: int, seed: int) -> Pictures:
    rng = np.random.default_rng(seed)
    x = np.arange(SIDE, dtype=np.float32)
    waves = [np.sin(x * rng.uniform(0.4, 0.7) + rng.uniform(0, 6)) for _ in range(count)]
    rows = [np.repeat(wave[None, :, None], SIDE, axis=0) for wave in waves]
    return np.concatenate([0.5 + 0.5 * np.repeat(row[None], 3, axis=-1) for row in rows])


def test_a_film_that_moves_with_what_it_shows_does_not_flicker() -> None:
    assert measures.warping_error(pan(4, 3), panned(4, 3)) == pytest.approx(0, abs=1e-12)


def test_noise_of_its_own_in_each_frame_is_flicker_of_twice_its_variance() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.1, (6, SIDE, SIDE, 3)).astype(np.float32)
    error = measures.warping_error(0.5 + noise, panned(6, 3))
    assert error == pytest.approx(2 * 0.1**2, rel=0.05)


def test_pixels_that_cannot_be_followed_do_not_count() -> None:
    film, motions = pan(4, 3), panned(4, 3)
    film[1:, :, SIDE - 3 :] = 0.0  # what comes into the picture is spoilt
    film[2, :5] = 1.0
    motions = [Motion(backward, visible.copy()) for backward, visible in motions]
    assert measures.warping_error(film, motions) > 0.01
    for pair in motions[1:]:
        pair.visible[:5] = 0
    # what was spoilt in one frame comes back in the next one, three pixels on, at the edge
    for pair in motions[1:]:
        pair.visible[:, SIDE - 6 :] = 0
    assert measures.warping_error(film, motions) == pytest.approx(0, abs=1e-12)
    hidden = [Motion(backward, np.zeros_like(visible)) for backward, visible in motions]
    assert np.isnan(measures.warping_error(film, hidden))


def test_motions_of_another_film_are_refused() -> None:
    with pytest.raises(ValueError, match="4 pictures"):
        measures.warping_error(pan(4, 3), panned(3, 3))


def test_distances_are_nothing_for_the_same_and_grow(features: Features) -> None:
    film = pan(10, 2)  # more than the network sees at once
    assert measures.content_distance(features, film, film) == pytest.approx(0, abs=1e-6)
    near = np.clip(film + 0.02, 0, 1)
    far = pan(10, 2, seed=5)
    assert (
        0
        < measures.content_distance(features, near, film)
        < measures.content_distance(features, far, film)
    )
    wave = stripes(1, 0)
    grams = [gram(each) for each in features(wave)[1]]
    # the same stripes elsewhere are the same style, though not the same content
    moved = np.roll(wave, 9, axis=2)
    as_style = measures.style_distance(features, moved, grams)
    assert as_style < 0.3 * measures.style_distance(features, film, grams)
    assert measures.style_distance(features, wave, grams) == pytest.approx(0, abs=1e-6)


def test_a_mean_is_over_all_pictures_however_many_are_seen_at_once(features: Features) -> None:
    film = pan(11, 2)
    grams = [gram(each) for each in features(stripes(1, 0))[1]]
    alone = [measures.style_distance(features, one[None], grams) for one in film]
    assert measures.style_distance(features, film, grams) == pytest.approx(np.mean(alone), rel=1e-4)


def test_the_kernel_distance_tells_sets_of_pictures_apart(features: Features) -> None:
    some, more = (measures.embeddings(features, stripes(12, seed)) for seed in (1, 2))
    noise = measures.embeddings(features, pan(12, 2))
    same = measures.kernel_distance(some, more)
    other = measures.kernel_distance(noise, more)
    assert some.shape == (12, 2 * sum(layer.shape[-1] for layer in features(stripes(1, 0))[1]))
    assert abs(same) < 0.1 * other
    # half of the one and half of the other lie between
    mixed = measures.kernel_distance(np.concatenate([some[:6], noise[:6]]), more)
    assert same < mixed < other


def test_the_kernel_distance_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    found = [
        measures.kernel_distance(rng.normal(size=(5, 4)), rng.normal(size=(7, 4)))
        for _ in range(4000)
    ]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found)) + 0.02
    assert min(found) < 0
    with pytest.raises(ValueError, match="two pictures"):
        measures.kernel_distance(np.zeros((1, 4)), np.zeros((3, 4)))


def test_styles_drawn_by_code_are_styles(features: Features) -> None:
    drawn = {name: (draw(1, 96), draw(2, 96)) for name, draw in STYLES.items()}
    for name, (first, _) in drawn.items():
        assert first.shape == (96, 96, 3)
        assert np.array_equal(first, STYLES[name](1, 96)), "same seed, same picture"
    pictures = np.stack([other for _, other in drawn.values()]).astype(np.float32) / 255
    for index, (first, _) in enumerate(drawn.values()):
        grams = [gram(each) for each in features(first[None].astype(np.float32) / 255)[1]]
        far = [measures.style_distance(features, each[None], grams) for each in pictures]
        # drawn from another seed, a style is nearer to itself than to any other
        assert np.argmin(far) == index
