"""MoViNet: mobile, causal and streaming."""

import keras
from keras import layers

from kinoflow.models.layers.backbones import BATCH_MOMENTUM
from kinoflow.models.layers.causal import CausalConvolution, CausalDifferences, CausalMean
from kinoflow.models.layers.frames import Differences, LastFrame, clip_frames, probabilities
from kinoflow.models.layers.separable import DepthwiseConv3D
from kinoflow.video.spec import ClipSpec


def movinet(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 24, 48, 96),
    expansion: int = 3,
    span: int = 3,
    differences: Differences = "only",
    dropout: float = 0.3,
) -> keras.Model:
    """Inverted (2+1)D bottlenecks that see the past alone, with squeeze and excitation.

    Kondratyuk et al., "MoViNets: Mobile Video Networks for Efficient Video Recognition" (CVPR
    2021): convolution in space, causal convolution in time over `span` frames, and means over
    the frames so far. It can therefore read a video frame by frame, in the same memory however
    long that is (`kinoflow.models.layers.causal.Stream`), and answers as it does to the clip.

    uint8 (B, T, H, W, 3) to float32 (B, classes).
    """
    clip, x = clip_frames(stored, seen)
    if differences:
        change = CausalDifferences()(x)
        x = change if differences == "only" else layers.Concatenate()([x, change])
    x = layers.Conv3D(filters[0], (1, 3, 3), (1, 2, 2), padding="same", use_bias=False)(x)
    x = layers.Activation("silu")(_normalised(x))
    for width in filters:
        x = _bottleneck(x, width, 2, expansion, span)
        x = _bottleneck(x, width, 1, expansion, span)
    x = layers.Conv3D(4 * filters[-1], 1, use_bias=False)(x)
    x = layers.Activation("silu")(_normalised(x))

    # === The mean over all frames so far, as it is at the last one ===
    x = LastFrame()(CausalMean()(x))
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip, probabilities(x, classes), name="movinet")


def _bottleneck(x, filters: int, stride: int, expansion: int, span: int):
    shortcut, inner = x, expansion * x.shape[-1]
    x = layers.Conv3D(inner, 1, use_bias=False)(x)
    x = layers.Activation("silu")(_normalised(x))
    x = DepthwiseConv3D((1, 3, 3), (1, stride, stride))(x)
    x = CausalConvolution(span)(x)
    x = layers.Activation("silu")(_normalised(x))
    x = _excited(x)
    x = _normalised(layers.Conv3D(filters, 1, use_bias=False)(x))
    return layers.Add()([x, shortcut]) if shortcut.shape == x.shape else x


def _excited(x):
    """Squeeze and excitation (Hu et al., CVPR 2018), by what was seen so far."""
    channels = x.shape[-1]
    y = CausalMean()(x)
    y = layers.Dense(max(8, channels // 4), activation="relu")(y)
    y = layers.Dense(channels, activation="sigmoid")(y)
    return layers.Multiply()([x, layers.Reshape((-1, 1, 1, channels))(y)])


def _normalised(x):
    # not by groups: over a clip they would look ahead, and a single frame that does not move has
    # no variance to divide by
    return layers.BatchNormalization(momentum=BATCH_MOMENTUM)(x)
