"""Optical flow, edges and histograms of their directions, as layers without weights.

All compute in float32 even in mixed precision, because motion is a small difference of large
values.
"""

import math

import numpy as np
from keras import layers, ops

from kinoflow.models.layers.base import register

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
        luma = (ops.matmul(x, ops.convert_to_tensor(_LUMA, dtype=x.dtype)) + 1) / 2
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
        before = ops.concatenate([x[:, :1], x[:, :-1]], axis=1)
        dx, dy = gradients((x + before) / 2)
        dt = x - before
        products = ops.stack([dx * dx, dx * dy, dy * dy, dx * dt, dy * dt])
        xx, xy, yy, xt, yt = ops.unstack(blurred(products[..., 0], self.sigma), 5)
        xx, yy = xx + self.noise, yy + self.noise
        # u and v minimise the sum of (dx * u + dy * v + dt)^2 over the window
        u, v = xy * yt - yy * xt, xy * xt - xx * yt
        return ops.stack([u, v], axis=-1) / (xx * yy - xy * xy)[..., None]

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
        return ops.concatenate(gradients(x), axis=-1)

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
        x = ops.reshape(x, (-1, height, width, 2, parts // 2, 1))
        right, down = x[..., 0, :, :], x[..., 1, :, :]
        length = ops.sqrt(ops.square(right) + ops.square(down) + 1e-12)
        angles = 2 * math.pi * np.arange(self.bins) / self.bins
        cosine = ops.convert_to_tensor(np.cos(angles), dtype=x.dtype)
        sine = ops.convert_to_tensor(np.sin(angles), dtype=x.dtype)
        # with 6, 8, ... bins, these fourth powers sum to the same value for every direction
        along = ops.relu((right * cosine + down * sine) / length)
        x = length * ops.square(ops.square(along))
        x = ops.reshape(x, (-1, height, width, parts // 2 * self.bins))
        size = self._cell(height), self._cell(width)
        x = ops.average_pool(x, size, size, padding="same")
        return ops.sqrt(ops.reshape(x, (-1, frames, math.prod(x.shape[1:]))) + 1e-6)

    def compute_output_shape(self, shape):
        grid = [-(-side // self._cell(side)) for side in shape[2:4]]
        return (*shape[:2], math.prod(grid) * shape[-1] // 2 * self.bins)

    def get_config(self):
        return super().get_config() | {"cells": self.cells, "bins": self.bins}

    def _cell(self, side: int) -> int:
        return -(-side // self.cells)


def gradients(x):
    """Central differences to the right and down of (B, T, H, W, C), with edge pixels repeated."""
    around = ops.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)], mode="symmetric")
    right = around[:, :, 1:-1, 2:] - around[:, :, 1:-1, :-2]
    down = around[:, :, 2:, 1:-1] - around[:, :, :-2, 1:-1]
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
