"""Motion histograms: which way edges and motion point, and a linear head."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from kinoflow.models.layers.backbones import BATCH_MOMENTUM
from kinoflow.models.layers.frames import Pixels, clip_input, frame_mask, probabilities
from kinoflow.models.layers.motion import Gradients, Grey, OpticalFlow, OrientationHistograms
from kinoflow.models.layers.pooling import MomentsOverTime
from kinoflow.video.spec import ClipSpec

# the fields of vectors whose directions are counted, from grey frames and their optical flow
_FIELDS: dict[str, Callable[[Any, Any], Any]] = {
    "hog": lambda grey, _: Gradients()(grey),
    "hof": lambda _, flow: flow,
    "mbh": lambda _, flow: Gradients()(flow),
}


def motion_histograms(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    descriptors: tuple[str, ...] = ("hog", "hof"),
    cells: int = 4,
    bins: int = 8,
    dropout: float = 0.5,
) -> keras.Model:
    """Histograms of what points where, their mean and deviation over time, and a linear head.

    Only the head is learned, so that a few dozen recordings are enough. `hog` counts the
    directions of edges, `hof` those of optical flow (Laptev et al., "Learning Realistic Human
    Actions from Movies", CVPR 2008), `mbh` those of the edges of flow, in which a moving camera
    cancels out (Dalal et al., "Human Detection Using Oriented Histograms of Flow and
    Appearance", ECCV 2006); each in `bins` directions on a grid of `cells` x `cells`, with the
    square root and the norm of Perronnin et al., "Improving the Fisher Kernel for Large-Scale
    Image Classification" (ECCV 2010).

    uint8 (B, T, H, W, 3) to float32 (B, classes). Raises ValueError for another descriptor.
    """
    if not descriptors or set(descriptors) - _FIELDS.keys():
        raise ValueError(f"descriptors must be of {', '.join(_FIELDS)}, got {descriptors!r}")
    clip = clip_input(seen.frames, stored.height, stored.width)
    mask = frame_mask(clip, stored)
    grey = Grey()(Pixels(seen.height, seen.width, dtype="float32")(clip))
    flow = OpticalFlow()(grey)
    summaries = []
    for name in descriptors:
        x = OrientationHistograms(cells, bins)(_FIELDS[name](grey, flow))
        summaries.append(layers.UnitNormalization()(MomentsOverTime()(x, mask=mask)))
    x = layers.Concatenate()(summaries) if len(summaries) > 1 else summaries[0]
    # features of cells where little happens are small: this brings all nearer to one scale
    x = layers.BatchNormalization(momentum=BATCH_MOMENTUM, center=False, scale=False)(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip, probabilities(x, classes), name="motion_histograms")
