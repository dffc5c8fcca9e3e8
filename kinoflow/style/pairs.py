"""Pairs of frames that follow each other in clips, for a network that learns from both."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from kinoflow.data.clips import ClipSet
from kinoflow.style import flow
from kinoflow.style.fast import Recipe
from kinoflow.style.optimise import Style
from kinoflow.system.errors import UserError
from kinoflow.video.padding import valid_frames
from kinoflow.video.spec import Frames

_LEAST = 32  # pixels of a frame's shorter side, which the features need


class Pairs:
    """Pairs of frames that follow each other, and how pixels move between them.

    What a step learns from depends only on the seed and the step's number.

    Args:
        clips: where the frames are from.
        recipe: the size of frames and of a batch, the strength of the style, and the seed.
        style: the colours that the network is to give frames.

    Raises UserError if there are no clips, or the clips have one frame each.
    """

    def __init__(self, clips: ClipSet, recipe: Recipe, style: Style) -> None:
        if not len(clips):
            raise UserError("there are no clips to train on: the split leaves none for training")
        frames, height, width, _ = clips.clip(0).shape
        if frames < 2:
            raise UserError("the clips have one frame each: set clip.frames to at least 2")
        scale = max(recipe.size / max(height, width), _LEAST / min(height, width))
        self.shape = round(height * scale), round(width * scale)  # of a frame
        self._clips = clips
        self._recipe = recipe
        self._style = style

    def read(self, step: int) -> tuple[tuple[Any, Any], tuple[Any, Any, Any]]:
        """What a step learns from.

        Returns the frames before and those after, float32 (B, H, W, 3), and of those after the
        backward flow (B, H, W, 2) and which pixels were visible before (B, H, W, 1). Last come all
        frames in the style's colours, those before and then those after, (2B, H, W, 3).
        """
        rng = np.random.default_rng((self._recipe.seed, step))
        before, after, backward, visible = [], [], [], []
        for row in rng.integers(len(self._clips), size=self._recipe.batch):
            clip = self._clips.clip(row)
            # the frames behind are black, or repeat the last one
            last = max(2, min(valid_frames(clip, masked=True), len(clip)))
            first = int(rng.integers(last - 1))
            two = [self._scaled(frame) for frame in clip[first : first + 2]]
            if rng.random() < 0.5:
                two = [np.ascontiguousarray(frame[:, ::-1]) for frame in two]
            motion = flow.motion(*two)
            before.append(two[0])
            after.append(two[1])
            backward.append(motion.backward)
            visible.append(motion.visible[..., None])
        shown = (_floats(before), _floats(after))
        strength = self._recipe.strength
        wanted = [self._style.recoloured(frame, strength) for two in shown for frame in two]
        return shown, (np.stack(backward), np.stack(visible), np.stack(wanted))

    def _scaled(self, frame: Frames) -> Frames:
        height, width = self.shape
        smaller = height < frame.shape[0]
        way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(frame, (width, height), interpolation=way), np.uint8)


def _floats(frames: Sequence[Frames]) -> Any:
    return np.stack(frames).astype(np.float32) / np.float32(255)
