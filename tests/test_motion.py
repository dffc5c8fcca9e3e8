"""Optical flow and histograms of directions.

Against films whose motion is known, and against their definitions written out in NumPy.
"""

from collections.abc import Callable

import cv2
import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from kinoflow.models.layers.clip import FrameDifferences
from kinoflow.models.layers.motion import (
    Gradients,
    Grey,
    OpticalFlow,
    OrientationHistograms,
    blurred,
)

RNG = np.random.default_rng(0)


def called(layer: layers.Layer, x: np.ndarray) -> np.ndarray:
    answer = np.asarray(keras.ops.convert_to_numpy(layer(x.astype("float32"))))
    assert layer.compute_output_shape(x.shape) == answer.shape
    return answer


def texture(height: int, width: int) -> np.ndarray:
    return cv2.GaussianBlur(RNG.uniform(size=(height, width)), (0, 0), 4) * 5


# OpenCV moves pictures by whole thirty-seconds of a pixel, and less exactly by anything else
@pytest.mark.parametrize("motion", [(0.5, 0.0), (0.0, -0.5), (-0.6875, 0.40625)])
def test_flow_is_the_motion_since_the_frame_before_in_pixels(motion: tuple[float, float]) -> None:
    picture = texture(48, 56)
    u, v = motion
    frames = [
        cv2.warpAffine(picture, np.array([[1, 0, u * t], [0, 1, v * t]]), (56, 48))
        for t in range(3)
    ]
    film = np.stack(frames)[None, ..., None]
    flow = called(OpticalFlow(noise=1e-6), film)
    np.testing.assert_array_equal(flow[0, 0], 0)
    inside = flow[0, 1:, 12:-12, 12:-12].reshape(-1, 2)
    np.testing.assert_allclose(np.median(inside, axis=0), motion, atol=0.05)
    backwards = called(OpticalFlow(noise=1e-6), film[:, ::-1])
    np.testing.assert_allclose(backwards[0, 1:], -flow[0, :0:-1], atol=1e-4)


def test_where_there_is_no_texture_there_is_no_flow(
    within: Callable[[str, float, float], None],
) -> None:
    film = np.full((1, 2, 16, 16, 1), 0.5)
    film[:, 1] += 1e-3 * RNG.normal(size=(16, 16, 1))  # noise of the camera
    within("pixels", abs(called(OpticalFlow(), film)).max(), 0.1)


@pytest.mark.parametrize(("height", "width", "sigma"), [(20, 33, 2.0), (5, 40, 3.0)])
def test_blurring_is_that_of_opencv(height: int, width: int, sigma: float) -> None:
    image = RNG.uniform(size=(height, width)).astype("float32")
    reach = min(round(3 * sigma), height)
    expected = image
    for side, size in ((0, height), (1, width)):
        reach = min(round(3 * sigma), size)
        ksize = (1, 2 * reach + 1) if side == 0 else (2 * reach + 1, 1)
        expected = cv2.GaussianBlur(
            expected, ksize, sigma, sigmaY=sigma, borderType=cv2.BORDER_REFLECT
        )
    ours = keras.ops.convert_to_numpy(blurred(keras.ops.convert_to_tensor(image[None]), sigma))
    np.testing.assert_allclose(ours[0], expected, atol=1e-5)


def test_grey_is_opencvs_and_gradients_are_numpys() -> None:
    frame = RNG.integers(0, 256, (1, 1, 12, 14, 3)).astype("uint8")
    grey = called(Grey(sigma=1e-3), frame / 127.5 - 1)
    expected = cv2.cvtColor(frame[0, 0], cv2.COLOR_RGB2GRAY) / 255
    np.testing.assert_allclose(grey[0, 0, ..., 0], expected, atol=0.01)
    fields = RNG.normal(size=(1, 1, 12, 14, 2))
    ours = called(Gradients(), fields)[0, 0, 1:-1, 1:-1]
    down, right = np.gradient(fields[0, 0], axis=(0, 1))
    np.testing.assert_allclose(ours[..., :2], right[1:-1, 1:-1], atol=1e-5)
    np.testing.assert_allclose(ours[..., 2:], down[1:-1, 1:-1], atol=1e-5)


def test_a_histogram_counts_lengths_by_place_and_direction() -> None:
    field = np.zeros((1, 1, 8, 8, 2))
    field[0, 0, :4, 4:] = (0, 3)  # downwards, at the upper right
    counted = called(OrientationHistograms(cells=2, bins=4), field)[0, 0].reshape(2, 2, 4) ** 2
    expected = np.zeros((2, 2, 4))
    expected[0, 1, 1] = 3
    np.testing.assert_allclose(counted, expected, atol=1e-5)


def test_no_direction_counts_for_more_than_another() -> None:
    angles = np.linspace(0, 2 * np.pi, 25)
    fields = np.stack([np.cos(angles), np.sin(angles)], axis=-1)[None, :, None, None, :]
    counted = called(OrientationHistograms(cells=1, bins=8), fields)[0] ** 2
    np.testing.assert_allclose(counted.sum(axis=1), counted.sum(axis=1)[0], rtol=1e-4)


def test_fields_are_counted_apart_and_sizes_that_do_not_divide_are_taken() -> None:
    one, other = RNG.normal(size=(2, 1, 3, 10, 13, 2))
    both = np.stack([one, other], axis=-1).reshape(1, 3, 10, 13, 4)
    layer = OrientationHistograms(cells=4, bins=8)
    counted = called(layer, both).reshape(1, 3, 4, 4, 2, 8)
    for number, field in enumerate((one, other)):
        alone = called(layer, field).reshape(1, 3, 4, 4, 8)
        np.testing.assert_allclose(counted[..., number, :], alone, atol=1e-5)


Array = NDArray[np.float64]


def written_out_blur(x: Array, sigma: float) -> Array:
    """Images (..., H, W) blurred along each axis, as if mirrored at their edges."""

    def row(values: Array) -> Array:
        reach = min(round(3 * sigma), len(values))
        weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
        mirrored = np.pad(values, reach, mode="symmetric")
        return np.convolve(mirrored, weights / weights.sum(), mode="valid")

    return np.apply_along_axis(row, -2, np.apply_along_axis(row, -1, x))


def written_out_gradients(x: Array) -> tuple[Array, Array]:
    """Central differences of (B, T, H, W, C) to the right and down, with edge pixels repeated."""
    around = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)], mode="edge")
    right = around[:, :, 1:-1, 2:] - around[:, :, 1:-1, :-2]
    return right / 2, (around[:, :, 2:, 1:-1] - around[:, :, :-2, 1:-1]) / 2


def written_out_grey(x: Array, sigma: float) -> Array:
    return written_out_blur((x @ [0.299, 0.587, 0.114] + 1) / 2, sigma)[..., None]


def written_out_flow(x: Array, sigma: float, noise: float) -> Array:
    before = np.concatenate([x[:, :1], x[:, :-1]], axis=1)
    dx, dy = written_out_gradients((x + before) / 2)
    dt = x - before
    products = np.stack([dx * dx, dx * dy, dy * dy, dx * dt, dy * dt])[..., 0]
    xx, xy, yy, xt, yt = written_out_blur(products, sigma)
    structure = np.stack([xx + noise, xy, xy, yy + noise], axis=-1).reshape(*xx.shape, 2, 2)
    return np.linalg.solve(structure, -np.stack([xt, yt], axis=-1)[..., None])[..., 0]


def written_out_histograms(x: Array, cells: int, bins: int) -> Array:
    batch, frames, height, width, parts = x.shape
    right, down = x[..., : parts // 2, None], x[..., parts // 2 :, None]
    length = np.sqrt(right**2 + down**2 + 1e-12)
    angles = 2 * np.pi * np.arange(bins) / bins
    along = np.maximum((right * np.cos(angles) + down * np.sin(angles)) / length, 0)
    counted = length * along**4
    means = [
        counted[:, :, top:bottom, left:end].mean(axis=(2, 3))
        for top, bottom in grid(height, cells)
        for left, end in grid(width, cells)
    ]
    return np.sqrt(np.stack(means, axis=2).reshape(batch, frames, -1) + 1e-6)


def grid(side: int, cells: int) -> list[tuple[int, int]]:
    """Where cells begin and end; what the last one lacks is shared with the first one."""
    cell = -(-side // cells)
    count = -(-side // cell)
    first = -((count * cell - side) // 2)
    starts = range(first, first + count * cell, cell)
    return [(max(start, 0), min(start + cell, side)) for start in starts]


def film(kind: str, height: int, width: int) -> Array:
    """Colours (2, 5, H, W, 3) in [-1, 1]."""
    frames = RNG.integers(0, 256, (2, 5, height, width, 3))
    if kind == "still":
        frames[:] = frames[:, :1]
    elif kind == "padded":
        frames[0, 2:] = 0
        frames[1, 4:] = 0
    elif kind == "black":
        frames[:] = 0
    return frames / 127.5 - 1


def equal(ours: np.ndarray, expected: Array) -> None:
    assert ours.shape == expected.shape
    # black is 1e-17 in float64, because the weights of luma do not sum to 1 exactly
    atol = 1e-5 * abs(expected).max() + 1e-15
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (64, 48), (2, 3)])
@pytest.mark.parametrize("kind", ["moving", "still", "padded", "black"])
def test_grey_flow_and_gradients_are_as_defined(kind: str, size: tuple[int, int]) -> None:
    colours = film(kind, *size)
    equal(called(Grey(), colours), written_out_grey(colours, sigma=1.0))
    grey = written_out_grey(colours, sigma=1.0).astype("float32").astype("float64")
    flow = written_out_flow(grey, sigma=2.0, noise=1e-3)
    equal(called(OpticalFlow(), grey), flow)
    for fields in (grey, flow):
        gradients = np.concatenate(written_out_gradients(fields), axis=-1)
        equal(called(Gradients(), fields), gradients)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (10, 13), (2, 3)])
@pytest.mark.parametrize(("cells", "bins"), [(4, 8), (3, 6), (1, 5), (2, 2), (2, 1)])
def test_histograms_are_as_defined(cells: int, bins: int, size: tuple[int, int]) -> None:
    fields = RNG.normal(size=(2, 3, *size, 6)) * np.logspace(-6, 2, 6)
    fields[0, 1] = 0
    fields[1, :, : size[0] // 2] = 0
    fields = fields.astype("float32").astype("float64")
    layer = OrientationHistograms(cells, bins)
    expected = written_out_histograms(fields, cells, bins)
    ours = called(layer, fields)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_the_difference_of_a_frame_is_that_to_the_frame_before() -> None:
    frames = RNG.normal(size=(2, 5, 3, 4, 3)).astype("float32")
    expected = np.diff(frames, axis=1, prepend=frames[:, :1])
    np.testing.assert_array_equal(called(FrameDifferences(), frames), expected)
