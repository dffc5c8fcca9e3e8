"""How far a picture is from a content and from a style, how rough it is, and how it flickers.

Gatys et al., "Image Style Transfer Using Convolutional Neural Networks" (CVPR 2016). Each distance
is divided by the size of what it is measured against. So 0 is the same and 1 is as far as nothing
is, whatever the network, the layer and the size of the picture, and one weight suits all.
"""

from collections.abc import Sequence
from typing import Any

from keras import ops

_LEAST = 1e-8  # so that nothing is divided by zero


def gram(features: Any) -> Any:
    """Which features occur together, wherever they do: (B, H, W, D) to (B, D, D).

    It does not depend on how large the picture is.
    """
    _, height, width, depth = ops.shape(features)
    flat = ops.reshape(features, (-1, height * width, depth))
    return ops.matmul(ops.transpose(flat, (0, 2, 1)), flat) / ops.cast(height * width, flat.dtype)


def content_distance(features: Sequence[Any], wanted: Sequence[Any]) -> Any:
    """How differently two pictures show things, (B,): the mean over layers.

    Args:
        features: of the pictures, (B, H, W, D) for each layer.
        wanted: of those that they are measured against, of the same shapes, or with B = 1.
    """
    return _mean([_relative(x, y, (1, 2, 3)) for x, y in zip(features, wanted, strict=True)])


def style_distance(features: Sequence[Any], grams: Sequence[Any]) -> Any:
    """How differently pictures are painted, (B,): the mean over layers.

    Args:
        features: of the pictures, (B, H, W, D) for each layer.
        grams: of the style, see `gram`: (B, D, D) for each layer, or with B = 1.
    """
    return _mean([_relative(gram(x), y, (1, 2)) for x, y in zip(features, grams, strict=True)])


def total_variation(pictures: Any) -> Any:
    """How rough pictures (B, H, W, 3) are: the mean square of differences of neighbours, (B,)."""
    down = pictures[:, 1:] - pictures[:, :-1]
    right = pictures[:, :, 1:] - pictures[:, :, :-1]
    return _mean([ops.mean(ops.square(each), axis=(1, 2, 3)) for each in (down, right)])


def temporal_distance(pictures: Any, warped: Any, visible: Any) -> Any:
    """How pictures differ from the ones before them, moved along with what they show, (B,).

    Ruder et al., "Artistic Style Transfer for Videos" (GCPR 2016).

    Args:
        pictures: (B, H, W, 3).
        warped: the pictures before them, warped by the optical flow, (B, H, W, 3).
        visible: 1 where a pixel was visible before, 0 elsewhere, (B, H, W, 1).

    Returns the mean square over the pixels that were visible; 0 if none was.
    """
    squares = ops.sum(visible * ops.square(pictures - warped), axis=(1, 2, 3))
    return squares / (3.0 * ops.sum(visible, axis=(1, 2, 3)) + _LEAST)


def _relative(x: Any, y: Any, axes: tuple[int, ...]) -> Any:
    return ops.sum(ops.square(x - y), axis=axes) / (ops.sum(ops.square(y), axis=axes) + _LEAST)


def _mean(values: Sequence[Any]) -> Any:
    return sum(values[1:], values[0]) / len(values)
