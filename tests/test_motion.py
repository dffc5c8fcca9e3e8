"""Optical flow and histograms of directions, against films whose motion is known."""

from collections.abc import Callable

import cv2
import keras
import numpy as np
import pytest
from keras import layers

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
