"""Motion histograms: histograms of the directions of edges and motion, and a linear head."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from kinoflow.models.layers.clip import ClipInput
from kinoflow.models.layers.heads import probabilities
from kinoflow.models.layers.motion import Gradients, Grey, OpticalFlow, OrientationHistograms
from kinoflow.models.layers.normalisation import batch_normalised
from kinoflow.models.layers.pooling import MomentsOverTime

# how each descriptor's vector field is made, from grey frames and their optical flow
_FIELDS: dict[str, Callable[[Any, Any], Any]] = {
    "hog": lambda grey, _: Gradients()(grey),
    "hof": lambda _, flow: flow,
    "mbh": lambda _, flow: Gradients()(flow),
}


def motion_histograms(
    clip: ClipInput,
    classes: int,
    *,
    descriptors: tuple[str, ...] = ("hog", "hof"),
    cells: int = 4,
    bins: int = 8,
    dropout: float = 0.5,
) -> keras.Model:
    """Histograms of directions, their mean and deviation over time, and a linear head.

    Only the head is learned, so that a few dozen recordings are enough. Laptev et al., "Learning
    Realistic Human Actions from Movies" (CVPR 2008), with the square root and the L2
    normalisation of Perronnin et al., "Improving the Fisher Kernel for Large-Scale Image
    Classification" (ECCV 2010).

    Args:
        descriptors: what is counted: `hog`, the directions of edges; `hof`, those of optical
            flow; `mbh`, those of the edges of flow, in which a moving camera cancels out (Dalal
            et al., "Human Detection Using Oriented Histograms of Flow and Appearance", ECCV
            2006). The first two, as in Laptev et al.
        cells: rows and columns of the grid on each frame; each cell has a histogram of its own.
        bins: how many directions are told apart, over the full circle.
        dropout: fraction of the moments set to zero in training; half, for small data.

    Raises ValueError for an unknown descriptor.
    """
    if not descriptors or set(descriptors) - _FIELDS.keys():
        raise ValueError(f"descriptors must be of {', '.join(_FIELDS)}, got {descriptors!r}")
    mask = clip.mask()
    grey = Grey()(clip.pixels(dtype="float32"))
    flow = OpticalFlow()(grey)
    summaries = []
    for name in descriptors:
        x = OrientationHistograms(cells, bins)(_FIELDS[name](grey, flow))
        summaries.append(layers.UnitNormalization()(MomentsOverTime()(x, mask=mask)))
    x = layers.Concatenate()(summaries) if len(summaries) > 1 else summaries[0]
    # brings features to a common scale: those of cells with little motion are small
    x = batch_normalised(x, learned=False)
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip.input, probabilities(x, classes), name="motion_histograms")
