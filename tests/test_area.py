"""Area interpolation by matrix products gives OpenCV's bytes."""

import cv2
import numpy as np
import pytest

from kinoflow.video import Frames, area

# (height, width) of a frame and of the result, with ratios of 3 to 45 parts
SIZES = [
    ((240, 320), (64, 64)),
    ((120, 160), (64, 64)),
    ((240, 352), (32, 32)),
    ((360, 480), (64, 64)),
    ((288, 352), (64, 64)),
    ((75, 105), (21, 15)),
    ((63, 81), (21, 15)),
    ((45, 35), (8, 8)),
]


def pictures(height: int, width: int) -> list[Frames]:
    """Noise, noise of two values, noise near white, and white."""
    rng = np.random.default_rng(height * width)
    shape = (height, width, 3)
    noise = [rng.integers(low, 256, shape, np.uint8) for low in (0, 250, 255)]
    return [*noise, rng.integers(0, 2, shape, np.uint8) * np.uint8(255)]


def by_opencv(frame: Frames, size: tuple[int, int]) -> Frames:
    return np.asarray(cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.parametrize(("size", "to_size"), SIZES)
def test_products_give_the_bytes_of_opencv(size: tuple[int, int], to_size: tuple[int, int]) -> None:
    assert area._rounds_alike(*size, *to_size)
    for frame in pictures(*size):
        np.testing.assert_array_equal(
            area._scaled(frame, to_size[1], to_size[0]), by_opencv(frame, to_size)
        )


@pytest.mark.parametrize(
    "to_size",
    [(64, 64), (48, 64), (112, 112), (240, 320), (300, 400), (239, 319), (7, 5), (1, 1), (64, 400)],
)
def test_any_size_is_scaled_as_opencv_does_it(to_size: tuple[int, int]) -> None:
    for frame in pictures(240, 320):
        np.testing.assert_array_equal(
            area.scale(frame, to_size[1], to_size[0]), by_opencv(frame, to_size)
        )


def test_a_frame_that_is_a_view_is_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pictures(240, 640)[0][:, ::2]
    np.testing.assert_array_equal(area.scale(frame, 64, 64), by_opencv(frame.copy(), (64, 64)))
