"""Augmentation of clips, the same for every frame of a clip."""

import keras
from keras import layers, ops

from kinoflow.params import Augment


def augmentation(params: Augment, shape: tuple[int, ...], seed: int) -> keras.Model:
    """A model from uint8 clips (B, T, H, W, 3) to augmented ones; in training alone.

    `shape` is that of a clip, (T, H, W, 3).

    Time is folded into the channels, so that Keras' image layers see a clip as one image and
    draw one transformation for it.
    """
    frames, height, width, channels = shape
    clip = keras.Input(shape, dtype="uint8")
    x = ops.transpose(clip, (0, 2, 3, 1, 4))
    x = ops.reshape(x, (-1, height, width, frames * channels))
    x = ops.cast(x, "float32")
    for layer in _layers(params, seed):
        x = layer(x)
    x = ops.cast(ops.clip(x, 0, 255), "uint8")
    x = ops.reshape(x, (-1, height, width, frames, channels))
    x = ops.transpose(x, (0, 3, 1, 2, 4))
    return keras.Model(clip, x, name="augmentation")


def _layers(params: Augment, seed: int) -> list[keras.Layer]:
    chosen: list[keras.Layer] = []
    if params.flip:
        chosen.append(layers.RandomFlip("horizontal", seed=seed))
    if params.shift:
        chosen.append(
            layers.RandomTranslation(params.shift, params.shift, fill_mode="nearest", seed=seed + 1)
        )
    if params.contrast:
        chosen.append(layers.RandomContrast(params.contrast, seed=seed + 2))
    if params.brightness:
        chosen.append(layers.RandomBrightness(params.brightness, (0, 255), seed=seed + 3))
    return chosen
