"""The input of every model, and what the first layer of its network sees."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import layers, ops

from kinoflow.models.layers.base import Causal, TakesMask, register, with_ones
from kinoflow.video.spec import ClipSpec

# what a network sees of a clip: its colours, their change since the frame before, or both
Inputs = Literal["frames", "differences", "both"]


@dataclass(frozen=True)
class ClipInput:
    """The input of a model, and what a builder needs to know of it.

    Made by `clip_input`.
    """

    input: Any  # keras.Input, uint8 RGB (B, T, H, W, 3): T frames of the clip store's size
    frames: int  # T
    height: int  # pixels of the frames that the network sees, at most H
    width: int  # pixels, at most W
    padded: bool  # whether black frames at the end of a clip are padding

    def pixels(self, inputs: Inputs = "frames", *, dtype: str | None = None) -> Any:
        """What the network's first layer sees: float (B, T, height, width, C).

        Args:
            inputs: `frames`: colours in [-1, 1], C = 3. `differences`: each frame's change since
                the frame before, C = 3, zero for the first frame. `both`: colours, then change,
                C = 6.
            dtype: float32 for a network that needs it even in mixed precision; None: the
                precision of training.

        Raises ValueError for unknown inputs.
        """
        if inputs not in get_args(Inputs):
            raise ValueError(f"inputs must be {', '.join(get_args(Inputs))}, got {inputs!r}")
        colours = Pixels(self.height, self.width, dtype=dtype)(self.input)
        if inputs == "frames":
            return colours
        change = FrameDifferences(dtype=dtype)(colours)
        if inputs == "differences":
            return change
        return layers.Concatenate(dtype=dtype)([colours, change])

    def mask(self, span: int = 1) -> Any:
        """Which frames are not padding: bool (B, T / span), rounded up; see `FrameMask`.

        None if the clip store pads by repeating the last frame: then every frame counts.
        """
        return FrameMask(span)(self.input) if self.padded else None


def clip_input(stored_clip: ClipSpec, model_clip: ClipSpec) -> ClipInput:
    """Make the input of a model.

    Args:
        stored_clip: the spec of the clip store, which gives the size of the input's frames.
        model_clip: how many frames the input has, and the size to which the model scales them; at
            most those of `stored_clip`.
    """
    shape = (model_clip.frames, stored_clip.height, stored_clip.width, 3)
    clip = keras.Input(shape, dtype="uint8", name="clip")
    return ClipInput(
        input=clip,
        frames=model_clip.frames,
        height=model_clip.height,
        width=model_clip.width,
        padded=stored_clip.padding == "mask",
    )


@register
class Pixels(layers.Layer):
    """uint8 clips (B, T, H, W, 3) to floats in [-1, 1], scaled to (height, width) pixels."""

    def __init__(self, height: int, width: int, **kwargs):
        super().__init__(**kwargs)
        self.height = height
        self.width = width

    def call(self, clips):
        _, frames, height, width, channels = clips.shape
        # computed in float32, because bfloat16 cannot represent all 256 values
        x = ops.cast(ops.cast(clips, "float32") / 127.5 - 1.0, self.compute_dtype)
        if (height, width) == (self.height, self.width):
            return x
        x = ops.reshape(x, (-1, height, width, channels))
        x = ops.image.resize(x, (self.height, self.width), antialias=True)
        return ops.reshape(x, (-1, frames, self.height, self.width, channels))

    def compute_output_shape(self, shape):
        return (*shape[:2], self.height, self.width, shape[-1])

    def get_config(self):
        return super().get_config() | {"height": self.height, "width": self.width}


@register
class FrameDifferences(Causal):
    """Each frame's change since the frame before, (B, T, H, W, C); the first frame's is zero.

    A cheap stand-in for optical flow: what stands still cancels out.
    """

    def call(self, x):
        # what `step` gives from a state of zeros, in fewer operations
        return x - frames_before(x)

    def state_shape(self, shape):
        # the last frame, and a channel of ones if there was a frame
        return (1, *shape[2:-1], shape[-1] + 1)

    def step(self, x, state):
        before = ops.concatenate([state, with_ones(x)], axis=1)
        change = x - before[:, :-1, ..., :-1]
        return change * before[:, :-1, ..., -1:], before[:, -1:]

    def compute_output_shape(self, shape):
        return shape


def frames_before(x):
    """The frame before each of (B, T, ...); the first frame for itself."""
    return ops.take(x, np.maximum(np.arange(x.shape[1]) - 1, 0), axis=1)


@register
class FrameMask(TakesMask):
    """Which frames of uint8 clips (B, T, H, W, 3) are not padding: bool (B, T).

    Padding is black (`clip.padding: mask`). A clip that is black throughout counts as one without
    padding. With a `span`, the result is bool (B, T / span), rounded up: for each `span`
    consecutive frames, whether any of them is not padding.
    """

    def __init__(self, span: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.span = span

    def call(self, clips):
        shown = ops.any(ops.not_equal(clips, 0), axis=(2, 3, 4))
        shown = ops.logical_or(shown, ops.logical_not(ops.any(shown, axis=1, keepdims=True)))
        frames, parts = clips.shape[1], self._parts(clips.shape)
        shown = ops.pad(shown, [(0, 0), (0, parts * self.span - frames)])
        return ops.any(ops.reshape(shown, (-1, parts, self.span)), axis=2)

    def compute_output_spec(self, clips):
        return keras.KerasTensor((clips.shape[0], self._parts(clips.shape)), dtype="bool")

    def get_config(self):
        return super().get_config() | {"span": self.span}

    def _parts(self, shape) -> int:
        return -(-shape[1] // self.span)
