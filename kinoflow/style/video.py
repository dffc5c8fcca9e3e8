"""Style transfer for video: each frame goes on from the one before it, moved along.

Ruder et al., "Artistic Style Transfer for Videos" (GCPR 2016), with their short-term consistency.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from kinoflow.style import pictures
from kinoflow.style.flow import Motion, motion, warp
from kinoflow.style.optimise import Options, Painter, Style, Temporal, Watch
from kinoflow.style.pictures import Picture
from kinoflow.video.spec import Frames

_CHANGED = 0.125  # a pixel whose colour is off by more than this is not the one that was followed
# At a cut, a smaller share of pixels can be followed; 0.55 is the least seen within scenes, and
# 0.28 the most seen between them.
_CUT = 0.4


class Continuity:
    """Paints the frames of a video, one after the other.

    The painted frame before is rounded to uint8 before it is gone on from. So a run that reads its
    finished frames from PNG files again paints the same as one that was never interrupted.

    Args:
        painter: the style and its options.
    """

    def __init__(self, painter: Painter) -> None:
        self._painter = painter
        self._before: Frames | None = None
        self._painted: Frames | None = None
        self.cuts = 0  # scenes that began after the first

    def paint(self, frame: Frames, watch: Watch | None = None) -> Frames:
        """Paint the next frame.

        Args:
            frame: uint8 RGB (H, W, 3), of the size of the one before.
            watch: is called after each step of the optimiser.

        Returns uint8 RGB (H, W, 3).
        """
        if self._before is not None and np.array_equal(frame, self._before):
            painted = self._painted
        else:
            painted = pictures.to_bytes(self._new(frame, watch))
        assert painted is not None
        self.remember(frame, painted)
        return painted

    def remember(self, frame: Frames, painted: Frames) -> None:
        """Go on from a frame that was painted earlier, both uint8 RGB (H, W, 3)."""
        self._before, self._painted = frame, painted

    def _new(self, frame: Frames, watch: Watch | None) -> Picture:
        content = pictures.to_floats(frame)
        before, painted = self._before, self._painted
        if before is None or painted is None or self._painter.options.consistency == 0:
            return self._painter.paint(content, watch=watch)
        moved = motion(before, frame)
        visible = followed(before, frame, moved)
        if is_cut(visible):
            self.cuts += 1
            return self._painter.paint(content, watch=watch)
        warped = warp(pictures.to_floats(painted), moved.backward)
        # where nothing is known of the frame before, its painting would be seen as a ghost
        start = np.where(visible[..., None] > 0, warped, self._painter.target(content))
        return self._painter.paint(content, start, Temporal(warped, visible), watch)


def followed(before: Frames, after: Frames, moved: Motion) -> Picture:
    """The pixels of a frame that the frame before showed as well, by motion and by colour.

    Flow follows pixels even where there is nothing to follow, as on a blank wall after a cut.

    Args:
        before: uint8 RGB (H, W, 3).
        after: of the same shape.
        moved: how pixels moved from one to the other.

    Returns (H, W): 1 where a pixel was visible before, 0 elsewhere.
    """
    expected = warp(pictures.to_floats(before), moved.backward)
    change = np.abs(expected - pictures.to_floats(after)).mean(axis=2)
    return (moved.visible * (change <= _CHANGED)).astype(np.float32)


def is_cut(visible: Picture) -> bool:
    """Whether a new scene begins, given which pixels were visible before (H, W)."""
    return bool(visible.mean() < _CUT)


def stylise(
    frames: Iterable[Frames],
    style: Style,
    options: Options | None = None,
    watch: Watch | None = None,
) -> Iterator[Picture]:
    """Paint the frames of a video.

    Args:
        frames: uint8 RGB (H, W, 3), all of one size, at least 32 pixels high and wide.
        style: how they are painted.
        options: see `Options`; without `consistency`, each is painted as if it were the only one.
        watch: is called after each step of the optimiser.

    Yields pictures (H, W, 3).
    """
    continuity = Continuity(Painter(style, options or Options()))
    for frame in frames:
        yield pictures.to_floats(continuity.paint(frame, watch))
