"""How well a film was repainted: does it flicker, is it painted in the style, can it be recognised?

Measures of whole films, computed after the fact. What training and the optimiser minimise are
`losses`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from kinoflow.style import losses
from kinoflow.style.features import Features
from kinoflow.style.flow import Motion, Pixels, warp

_BATCH = 8  # pictures that a network sees at once


def warping_error(pictures: Pixels, motions: Sequence[Motion]) -> float:
    """How much a film flickers: how it differs from itself, moved along with what it shows.

    Lai et al., "Learning Blind Video Temporal Consistency" (ECCV 2018), section 4.2. It is the mean
    square over pixels that were visible in the frame before, as `flow.motion` or the renderer's
    `truth_flow` says, averaged over pairs of frames. A film of one colour has none, so it tells
    something beside a distance of style alone. What the film before it was repainted has, is the
    floor: grain, light, and what bilinear warping blurs.

    Args:
        pictures: of one film, in order, RGB in [0, 1], (T, H, W, 3); T at least 2.
        motions: from each picture but the first to the one before, (H, W): T - 1 of them.

    Returns a number from 0 to 1; NaN if no pixel can be followed in any pair.

    Raises ValueError for other than T - 1 motions.
    """
    if len(motions) != len(pictures) - 1:
        raise ValueError(f"{len(pictures)} pictures have other than {len(motions)} motions")
    errors = []
    for before, after, (backward, visible) in zip(pictures, pictures[1:], motions, strict=False):
        if (followed := visible.sum()) > 0:
            squares = np.square(after - warp(before, backward)).mean(axis=-1)
            errors.append(float((squares * visible).sum() / followed))
    return float(np.mean(errors)) if errors else float("nan")


def content_distance(features: Features, pictures: Pixels, originals: Pixels) -> float:
    """How differently pictures show what the originals show, as a mean over pictures.

    Args:
        features: the network to measure with, see `losses.content_distance`.
        pictures: RGB in [0, 1], (T, H, W, 3); H and W at least 32.
        originals: of the same shape.

    Returns 0 for the same; 1 is as far as nothing is.
    """
    found = []
    for at in range(0, len(pictures), _BATCH):
        shown, _ = features(pictures[at : at + _BATCH])
        wanted, _ = features(originals[at : at + _BATCH])
        found.append(ops.convert_to_numpy(losses.content_distance(shown, wanted)))
    return float(np.concatenate(found).mean())


def style_distance(features: Features, pictures: Pixels, grams: Sequence[Any]) -> float:
    """How differently from a style pictures are painted, as a mean over pictures.

    Args:
        features: the network to measure with, see `losses.style_distance`.
        pictures: RGB in [0, 1], (T, H, W, 3); H and W at least 32.
        grams: of the style, (1, D, D) for each layer; see `losses.gram`.

    Returns 0 for the same; 1 is as far as nothing is.
    """
    found = []
    for at in range(0, len(pictures), _BATCH):
        _, painted = features(pictures[at : at + _BATCH])
        found.append(ops.convert_to_numpy(losses.style_distance(painted, grams)))
    return float(np.concatenate(found).mean())


def embeddings(features: Features, pictures: Pixels) -> NDArray[np.float64]:
    """What is in each picture and how it is painted, wherever it is, for `kernel_distance`.

    Args:
        features: the network to measure with.
        pictures: RGB in [0, 1], (N, H, W, 3); H and W at least 32.

    Returns (N, D): the mean and the spread over places of each feature of the style layers, each
    layer scaled by the root of its number of features, so that none drowns another.
    """
    found = []
    for at in range(0, len(pictures), _BATCH):
        _, painted = features(pictures[at : at + _BATCH])
        layers = [ops.convert_to_numpy(each) for each in painted]
        parts = [
            part / np.sqrt(part.shape[1])
            for layer in layers
            for part in (layer.mean(axis=(1, 2)), layer.std(axis=(1, 2)))
        ]
        found.append(np.concatenate(parts, axis=1))
    return np.concatenate(found).astype(np.float64)


def kernel_distance(some: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """How far two sets of pictures are apart: the kernel distance (KID) on our own features.

    Bińkowski et al., "Demystifying MMD GANs" (ICLR 2018): the unbiased estimate of the squared
    maximum mean discrepancy with the kernel (x · y / D + 1)³. It does not depend on how many
    pictures there are, unlike the Fréchet distance, which is biased below thousands. Its numbers
    compare with others of the same network and layers alone, not with published ones. Features are
    first divided by the root mean square of the second set's, which makes the numbers the same for
    every network's scale.

    Args:
        some: `embeddings` of pictures, (N, D); N at least 2.
        others: of those that they are measured against, (M, D); M at least 2.

    Returns about 0 for two samples of the same pictures, and a little below at random.

    Raises ValueError for a single picture.
    """
    if min(len(some), len(others)) < 2:
        raise ValueError("the kernel distance takes at least two pictures on each side")
    scale = np.sqrt(np.square(others).mean()) or 1.0
    x, y = some / scale, others / scale

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((a @ b.T / a.shape[1] + 1) ** 3)

    def within(a: NDArray[np.float64]) -> float:
        products = kernel(a, a)
        return float((products.sum() - np.trace(products)) / (len(a) * (len(a) - 1)))

    return within(x) + within(y) - 2 * float(kernel(x, y).mean())
