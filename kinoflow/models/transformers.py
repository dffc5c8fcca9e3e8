"""Transformers over patches of clips: TimeSformer and ViViT."""

import keras
from keras import layers

from kinoflow.models.layers.attention import Position, attend, feed_forward, tubelets
from kinoflow.models.layers.clip import ClipInput, Inputs
from kinoflow.models.layers.heads import probabilities
from kinoflow.models.layers.pooling import MeanOverTime


def timesformer(
    clip: ClipInput,
    classes: int,
    *,
    patch: int = 8,
    width: int = 96,
    depth: int = 4,
    heads: int = 4,
    dropout: float = 0.1,
    inputs: Inputs = "differences",
) -> keras.Model:
    """Each block attends along time, patch by patch, then along space, frame by frame.

    Bertasius et al., "Is Space-Time Attention All You Need for Video Understanding?"
    (ICML 2021), with the mean over all patches instead of a class token.

    Args:
        patch: side of a patch in pixels; 8 makes 64 patches of a frame of 64x64.
        width: length of a patch's vector; an eighth of the paper's.
        depth: blocks; a third of the paper's.
        heads: of each attention; each head gets an equal part of the width.
        dropout: fraction of attention weights and features set to zero in training; a little, as
            usual for transformers.
        inputs: what the network sees of each frame: its colours (`frames`), their change since
            the frame before (`differences`), or `both` stacked. Change alone, since with it
            R3D does best on few recordings (benchmarks/accuracy.md).
    """
    mask = clip.mask()
    x = tubelets(clip.pixels(inputs), width, 1, patch)
    for _ in range(depth):
        x = attend(x, 1, heads, dropout, mask)
        x = attend(x, 2, heads, dropout)
        x = feed_forward(x, dropout)
    x = layers.LayerNormalization()(x)

    # === Over space, then over time: (B, T, S, D) to (B, D) ===
    x = layers.AveragePooling2D((1, x.shape[2]))(x)
    x = MeanOverTime()(layers.Reshape((-1, width))(x), mask=mask)
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip.input, probabilities(x, classes), name="timesformer")


def vivit(
    clip: ClipInput,
    classes: int,
    *,
    tubelet: int = 2,
    patch: int = 8,
    width: int = 96,
    depth: int = 3,
    temporal_depth: int = 2,
    heads: int = 4,
    dropout: float = 0.1,
    inputs: Inputs = "differences",
) -> keras.Model:
    """The factorised encoder: attention among tubelets of the same time, then among times.

    Arnab et al., "ViViT: A Video Vision Transformer" (ICCV 2021), model 2, with means instead
    of class tokens.

    Args:
        tubelet: frames of a tubelet; the paper's smallest, since clips are short.
        patch: side of a tubelet in pixels; 8 makes 64 tubelets of a frame of 64x64.
        width: length of a tubelet's vector; an eighth of the paper's.
        depth: blocks over space; a quarter of the paper's.
        temporal_depth: blocks over time; half of the paper's.
        heads: of each attention; each head gets an equal part of the width.
        dropout: fraction of attention weights and features set to zero in training; a little, as
            usual for transformers.
        inputs: what the network sees of each frame: its colours (`frames`), their change since
            the frame before (`differences`), or `both` stacked. Change alone, since with it
            R3D does best on few recordings (benchmarks/accuracy.md).
    """
    x = tubelets(clip.pixels(inputs), width, tubelet, patch)
    for _ in range(depth):
        x = feed_forward(attend(x, 2, heads, dropout), dropout)

    # === A vector per time step: (B, T', S, D) to (B, T', 1, D), then one per clip: (B, D) ===
    mask = clip.mask(span=tubelet)
    x = layers.AveragePooling2D((1, x.shape[2]))(layers.LayerNormalization()(x))
    x = Position(axis=1)(x)
    for _ in range(temporal_depth):
        x = feed_forward(attend(x, 1, heads, dropout, mask), dropout)
    x = layers.Reshape((-1, width))(layers.LayerNormalization()(x))
    x = MeanOverTime()(x, mask=mask)
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip.input, probabilities(x, classes), name="vivit")
