"""What a clip looks like without some of its times or places: the baseline of every comparison.

A time that is absent shows the clip's mean frame, in which nothing moves and nobody acts, but the
scene is the same. Black or grey frames would be like nothing that a model was trained on (and black
means padding where `clip.padding` is `mask`); blurred frames still move, which is evidence. A place
that is absent has the clip's mean colour in all frames: the mean frame would show what stands still
there, which is evidence too, and a colour that came and went would look like motion.

In all functions `clip` is uint8 RGB (T, H, W, 3), and `valid` is how many of its frames are not
padding; padding is left as it is.
"""

import numpy as np
from numpy.typing import NDArray

from kinoflow.video.spec import Frames


def still(clip: Frames, valid: int) -> Frames:
    """A clip whose frames are all its mean frame."""
    baseline = clip.copy()
    baseline[:valid] = _colour(clip[:valid].mean(axis=0, dtype=np.float64))
    return baseline


def without_times(clip: Frames, baseline: Frames, absent: NDArray[np.bool_]) -> Frames:
    """A clip with the frames where `absent` (T,) is true taken from its `still` baseline."""
    return np.where(absent[:, None, None, None], baseline, clip)


def without_places(clip: Frames, valid: int, absent: NDArray[np.bool_]) -> Frames:
    """A clip with its mean colour in all frames where `absent` (H, W) is true."""
    changed = clip.copy()
    changed[:valid, absent] = _colour(clip[:valid].mean(axis=(0, 1, 2), dtype=np.float64))
    return changed


def _colour(values: NDArray[np.float64]) -> Frames:
    # not black, since black frames are padding
    return np.maximum(np.rint(values), 1).astype(np.uint8)
