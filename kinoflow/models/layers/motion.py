"""Optical flow, edges and histograms of their directions, as layers without weights.

All compute in float32 even in mixed precision, because motion is a small difference of large
values. All compute on planes (B, T, C, H, W), because backends are slow on a last axis of two or
eight. A compiled TensorFlow graph leaves out transpositions that undo each other, as those between
one layer and the next.
"""

import math

import numpy as np
from keras import layers, ops

from kinoflow.models.layers.base import register
from kinoflow.models.layers.clip import frames_before

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@register
class Grey(layers.Layer):
    """Colours in [-1, 1] (B, T, H, W, 3) to blurred luma in [0, 1], (B, T, H, W, 1).

    Args:
        sigma: standard deviation of the Gaussian blur, in pixels.
    """

    def __init__(self, sigma: float = 1.0, *, dtype="float32", **kwargs):
        super().__init__(dtype=dtype, **kwargs)
        self.sigma = sigma

    def call(self, x):
        frames, height, width, channels = x.shape[1:]
        x = ops.reshape(x, (-1, height, width, channels))
        # a convolution is faster than a matrix product that has one column
        luma = ops.conv(x, ops.convert_to_tensor(_LUMA, dtype=x.dtype)[None, None, :, None])
        luma = ops.reshape((luma + 1) / 2, (-1, frames, height, width))
        return blurred(luma, self.sigma)[..., None]

    def compute_output_shape(self, shape):
        return (*shape[:-1], 1)

    def get_config(self):
        return super().get_config() | {"sigma": self.sigma}


@register
class OpticalFlow(layers.Layer):
    """Grey frames (B, T, H, W, 1) to the motion since the frame before, (B, T, H, W, 2).

    Motion is given in pixels to the right and down; that of the first frame is zero. Lucas and
    Kanade, "An Iterative Image Registration Technique with an Application to Stereo Vision" (IJCAI
    1981), with one step instead of several: motions of more than a pixel or two keep their
    direction but come out too short.

    Args:
        sigma: standard deviation, in pixels, of the Gaussian window within which all pixels are
            assumed to move alike.
        noise: the variance of gradients that is put down to noise; flow is small where gradients
            vary less.
    """

    def __init__(self, sigma: float = 2.0, noise: float = 1e-3, *, dtype="float32", **kwargs):
        super().__init__(dtype=dtype, **kwargs)
        self.sigma = sigma
        self.noise = noise

    def call(self, x):
        x = x[..., 0]
        before = frames_before(x)
        dx, dy = gradients((x + before) / 2)
        dt = x - before
        products = dx * dx, dx * dy, dy * dy, dx * dt, dy * dt
        xx, xy, yy, xt, yt = (blurred(product, self.sigma) for product in products)
        xx, yy = xx + self.noise, yy + self.noise
        # u and v minimise the sum of (dx * u + dy * v + dt)^2 over the window
        determinant = xx * yy - xy * xy
        u, v = (xy * yt - yy * xt) / determinant, (xy * xt - xx * yt) / determinant
        return from_planes(ops.stack([u, v], axis=2))

    def compute_output_shape(self, shape):
        return (*shape[:-1], 2)

    def get_config(self):
        return super().get_config() | {"sigma": self.sigma, "noise": self.noise}


@register
class Gradients(layers.Layer):
    """Central differences in space of each channel: (B, T, H, W, C) to (B, T, H, W, 2C).

    The first C channels are the differences to the right, the others those downwards.
    """

    def __init__(self, *, dtype="float32", **kwargs):
        super().__init__(dtype=dtype, **kwargs)

    def call(self, x):
        return from_planes(ops.concatenate(gradients(to_planes(x)), axis=2))

    def compute_output_shape(self, shape):
        return (*shape[:-1], 2 * shape[-1])


@register
class OrientationHistograms(layers.Layer):
    """Histograms of directions in each cell of a grid: (B, T, H, W, 2F) to (B, T, D).

    The input holds F vector fields: first their F components to the right, then their F components
    downwards. D is cells * cells * F * bins. Every vector is weighted by its length. It counts
    mostly for the bins nearest to its direction, and not at all for bins at a right angle or more.
    The output is the square root of the mean in each cell, so that a few long vectors do not
    outweigh the rest. Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection"
    (CVPR 2005).

    Args:
        cells: rows and columns of the grid.
        bins: how many directions are told apart, over the full circle.
    """

    def __init__(self, cells: int = 4, bins: int = 8, *, dtype="float32", **kwargs):
        super().__init__(dtype=dtype, **kwargs)
        self.cells = cells
        self.bins = bins

    def call(self, x):
        frames, height, width, parts = x.shape[1:]
        x = to_planes(x)
        right, down = x[:, :, : parts // 2], x[:, :, parts // 2 :]
        square = ops.square(right) + ops.square(down) + 1e-12
        # Vectors are scaled to length^(1/4), by (length^3)^(-1/4), so that the fourth power of a
        # component is length * cos(angle)^4.
        scale = ops.rsqrt(ops.sqrt(square * ops.sqrt(square)))
        right, down = right * scale, down * scale
        # with 6, 8, ... bins, these fourth powers sum to the same value for every direction
        counts = [ops.square(ops.square(ops.relu(part))) for part in self._along(right, down)]
        rows, columns = (_means(side, self._cell(side)) for side in (height, width))
        rows = ops.convert_to_tensor(rows, dtype=x.dtype)
        columns = ops.convert_to_tensor(columns.T, dtype=x.dtype)
        grids = [ops.matmul(ops.matmul(rows, count), columns) for count in counts]
        x = ops.transpose(ops.stack(grids, axis=-1), (0, 1, 3, 4, 2, 5))
        return ops.sqrt(ops.reshape(x, (-1, frames, math.prod(x.shape[2:]))) + 1e-6)

    def _along(self, right, down) -> list:
        """The component of vectors in each bin's direction."""
        opposite = self.bins % 2 == 0  # whether the second half is the first one, turned round
        angles = 2 * math.pi * np.arange(self.bins // (1 + opposite)) / self.bins
        along = [_weighted(right, math.cos(a), down, math.sin(a)) for a in angles]
        return along + [-part for part in along] if opposite else along

    def compute_output_shape(self, shape):
        grid = [-(-side // self._cell(side)) for side in shape[2:4]]
        return (*shape[:2], math.prod(grid) * shape[-1] // 2 * self.bins)

    def get_config(self):
        return super().get_config() | {"cells": self.cells, "bins": self.bins}

    def _cell(self, side: int) -> int:
        return -(-side // self.cells)


def to_planes(x):
    """(B, T, H, W, C) to (B, T, C, H, W)."""
    return ops.transpose(x, (0, 1, 4, 2, 3))


def from_planes(x):
    """(B, T, C, H, W) to (B, T, H, W, C)."""
    return ops.transpose(x, (0, 1, 3, 4, 2))


def gradients(x):
    """Central differences to the right and down of (..., H, W), with edge pixels repeated."""
    wide = ops.concatenate([x[..., :1], x, x[..., -1:]], axis=-1)
    high = ops.concatenate([x[..., :1, :], x, x[..., -1:, :]], axis=-2)
    right = wide[..., 2:] - wide[..., :-2]
    down = high[..., 2:, :] - high[..., :-2, :]
    return right / 2, down / 2


def blurred(x, sigma: float):
    """Images (..., H, W) blurred by a Gaussian of `sigma` pixels, as if mirrored at their edges."""
    height, width = x.shape[-2:]
    down, across = (_gaussian(side, sigma) for side in (height, width))
    x = ops.matmul(x, ops.convert_to_tensor(across.T, dtype=x.dtype))
    return ops.matmul(ops.convert_to_tensor(down, dtype=x.dtype), x)


def _gaussian(side: int, sigma: float) -> np.ndarray:
    """The matrix (side, side) that blurs a row of `side` pixels."""
    reach = min(round(3 * sigma), side)
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    mirrored = np.pad(np.arange(side), reach, mode="symmetric")
    matrix = np.zeros((side, side))
    for place in range(side):
        np.add.at(matrix[place], mirrored[place : place + 2 * reach + 1], weights / weights.sum())
    return matrix


def _weighted(one, weight: float, other, other_weight: float):
    """Weighted sum of two tensors, without the one whose weight is zero but for rounding."""
    if abs(other_weight) < 1e-9:
        return one * weight
    if abs(weight) < 1e-9:
        return other * other_weight
    return one * weight + other * other_weight


def _means(side: int, cell: int) -> np.ndarray:
    """The matrix (cells, side) that averages a row of `side` pixels in cells of `cell` pixels.

    Pixels that are missing for whole cells are missing in the first and the last one, as in average
    pooling with "same" padding.
    """
    cells = -(-side // cell)
    start = (cells * cell - side) // 2
    matrix = np.zeros((cells, side))
    matrix[(np.arange(side) + start) // cell, np.arange(side)] = 1
    return matrix / matrix.sum(axis=1, keepdims=True)
