"""Which frames of a stored clip show the video, and which are padding.

With `padding: mask`, padding is black: 0 throughout. Stored frames of a video never are.
"""

import numpy as np

from kinoflow.video.spec import Frames


def valid_frames(clip: Frames, *, masked: bool) -> int:
    """How many frames of a clip (T, H, W, 3) a model may look at.

    Args:
        clip: uint8 RGB, as stored.
        masked: whether black frames at its end are padding (`padding: mask`), which does not
            count. Otherwise all frames count.
    """
    return len(unpadded(clip)) if masked else len(clip)


def unpadded(clip: Frames) -> Frames:
    """A clip (T, H, W, 3) without the black frames at its end; all of it if all are black."""
    shown = np.flatnonzero(clip.any(axis=(1, 2, 3)))
    return clip[: shown[-1] + 1] if len(shown) else clip
