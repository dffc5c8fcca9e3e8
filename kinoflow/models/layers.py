"""Layers that several models share. Registered, so that safe mode loads them."""

import keras
from keras import layers, ops

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
        x = ops.cast(clips, self.compute_dtype) / 127.5 - 1.0
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
class FoldTime(layers.Layer):
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
class WithDifferences(layers.Layer):
    """Append to each frame's channels its change since the frame before: (B, T, H, W, 2C).

    A cheap stand-in for optical flow: what stands still cancels out. The first frame's change
    is zero.
    """

    def call(self, x):
        change = x[:, 1:] - x[:, :-1]
        change = ops.pad(change, [(0, 0), (1, 0), (0, 0), (0, 0), (0, 0)])
        return ops.concatenate([x, change], axis=-1)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 2 * shape[-1])


def clip_input(frames: int, height: int, width: int):
    """The input that every model has: uint8 RGB (B, T, H, W, 3)."""
    return keras.Input((frames, height, width, 3), dtype="uint8", name="clip")


def probabilities(x, classes: int):
    """The head that every model has: float32 (B, classes), also under mixed precision."""
    return layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)


def frame_encoder(x, filters: tuple[int, ...], pools: tuple[int, ...], dropout: float):
    """A plain CNN on single images (N, H, W, C): convolution, pooling and dropout per block."""
    for width, pool in zip(filters, pools, strict=True):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(pool, padding="same")(x)
        x = layers.Dropout(dropout)(x)
    return x
