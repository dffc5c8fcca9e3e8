"""From the clip that every model takes to what its first layer sees."""

from typing import Any, Literal

import keras
from keras import layers, ops

from kinoflow.video.spec import ClipSpec

# whether a model sees frames, frames beside their change since the frame before, or that alone
Differences = bool | Literal["only"]

register = keras.saving.register_keras_serializable("kinoflow")


@register
class Pixels(layers.Layer):
    """uint8 clips (B, T, H, W, 3) to float in [-1, 1], scaled to (height, width) if need be."""

    def __init__(self, height: int, width: int, **kwargs):
        super().__init__(**kwargs)
        self.height = height
        self.width = width

    def call(self, clips):
        _, frames, height, width, channels = clips.shape
        # first in float32: bfloat16 cannot tell all 256 values from each other
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
class FrameMask(layers.Layer):
    """Which frames of uint8 clips (B, T, H, W, 3) are no padding: bool (B, T).

    Padding is black (`clip.padding: mask`). A clip that is black throughout is taken as it is.
    Of each `span` frames that a model takes together, any one will do: bool (B, T / span).
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


class TakesMask(layers.Layer):
    """A layer to which the mask of frames is handed in each call, and which hands none on."""

    def compute_mask(self, inputs, previous_mask=None):
        return None


@register
class FoldTime(TakesMask):
    """(B, T, ...) to (B * T, ...): what follows treats frames as single images."""

    def call(self, x):
        return ops.reshape(x, (-1, *x.shape[2:]))

    def compute_output_shape(self, shape):
        return (None, *shape[2:])


@register
class UnfoldTime(layers.Layer):
    """(B * T, ...) back to (B, T, ...)."""

    def __init__(self, frames: int, **kwargs):
        super().__init__(**kwargs)
        self.frames = frames

    def call(self, x):
        return ops.reshape(x, (-1, self.frames, *x.shape[1:]))

    def compute_output_shape(self, shape):
        return (None, self.frames, *shape[1:])

    def get_config(self):
        return super().get_config() | {"frames": self.frames}


@register
class Change(layers.Layer):
    """Each frame's change since the frame before, (B, T, H, W, C); the first frame's is zero.

    A cheap stand-in for optical flow: what stands still cancels out.
    """

    def call(self, x):
        return x - ops.concatenate([x[:, :1], x[:, :-1]], axis=1)

    def compute_output_shape(self, shape):
        return shape


@register
class LastFrame(layers.Layer):
    """(B, T, ...) to (B, ...): what there is at the last frame."""

    def call(self, x):
        return x[:, -1]

    def compute_output_shape(self, shape):
        return (shape[0], *shape[2:])


def clip_input(frames: int, height: int, width: int):
    """The input that every model has: uint8 RGB (B, T, H, W, 3)."""
    return keras.Input((frames, height, width, 3), dtype="uint8", name="clip")


def clip_frames(
    stored: ClipSpec, seen: ClipSpec, *, differences: Differences = False
) -> tuple[Any, Any]:
    """The input of a model, and what its first layer sees, float (B, T, H, W, C).

    The frames' colours, and with `differences` their change since the frame before beside them,
    or in their place.
    """
    clip = clip_input(seen.frames, stored.height, stored.width)
    x = Pixels(seen.height, seen.width)(clip)
    if not differences:
        return clip, x
    change = Change()(x)
    return clip, change if differences == "only" else layers.Concatenate()([x, change])


def frame_mask(clip, stored: ClipSpec, span: int = 1) -> Any:
    """Which frames, taken `span` at a time, are no padding: bool (B, T / span).

    None where padding repeats the last frame.
    """
    return FrameMask(span)(clip) if stored.padding == "mask" else None


def pooled_probabilities(x, classes: int, dropout: float):
    """The head of networks over space and time: the mean over both, dropout, probabilities."""
    x = layers.GlobalAveragePooling3D()(x)
    return probabilities(layers.Dropout(dropout)(x), classes)


def probabilities(x, classes: int):
    """The head that every model has: float32 (B, classes), also under mixed precision."""
    return layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)
