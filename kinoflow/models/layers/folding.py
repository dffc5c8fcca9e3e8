"""Turn the frames of clips into single images, and images back into clips."""

from collections.abc import Callable
from typing import Any

from keras import layers, ops

from kinoflow.models.layers.base import TakesMask, register


def per_frame(x: Any, network: Callable[[Any], Any], *, dtype: str | None = None) -> Any:
    """Apply a network to each frame: (B, T, H, W, C) to (B, T, ...).

    Args:
        x: clips.
        network: takes images (N, H, W, C) to (N, ...).
        dtype: float32 for a result that must be float32 even in mixed precision; None: the
            precision of training.
    """
    return UnfoldTime(x.shape[1], dtype=dtype)(network(FoldTime()(x)))


@register
class FoldTime(TakesMask):
    """(B, T, ...) to (B * T, ...), so that the layers after it see single images."""

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
