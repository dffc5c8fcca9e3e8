"""MoViNet: mobile, causal and streaming."""

import keras
from keras import layers

from kinoflow.models.layers.causal import CausalConvolution, CausalMean
from kinoflow.models.layers.clip import ClipInput, Inputs
from kinoflow.models.layers.depthwise import DepthwiseConv3D
from kinoflow.models.layers.heads import probabilities
from kinoflow.models.layers.normalisation import batch_normalised
from kinoflow.models.layers.pooling import LastFrame


def movinet(
    clip: ClipInput,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 24, 48, 96),
    expansion: int = 3,
    span: int = 3,
    inputs: Inputs = "differences",
    dropout: float = 0.3,
) -> keras.Model:
    """Inverted (2+1)D bottlenecks that see the past alone, with squeeze and excitation.

    Kondratyuk et al., "MoViNets: Mobile Video Networks for Efficient Video Recognition" (CVPR
    2021): convolution in space, causal convolution in time, and means over the frames so far. It
    can therefore read a video frame by frame, in the same memory however long that is
    (`kinoflow.models.streaming.Stream`), and answers as it does to the clip.

    Args:
        filters: channels of each stage, two bottlenecks of which the first halves space. About
            those of the paper's smallest network.
        expansion: times by which a bottleneck has more channels inside than it is given; about
            the paper's.
        span: frames of each causal convolution, the present one and those before; 3, as in
            most of the paper's.
        inputs: what it sees of each frame: its colours (`frames`), their change since the frame
            before (`differences`), or `both` side by side. Change alone, with which R3D does best
            on few recordings (benchmarks/accuracy.md).
        dropout: fraction of the pooled features set to zero in training; for small data.
    """
    x = clip.pixels(inputs)
    x = layers.Conv3D(filters[0], (1, 3, 3), (1, 2, 2), padding="same", use_bias=False)(x)
    x = layers.Activation("silu")(batch_normalised(x))
    for width in filters:
        x = _bottleneck(x, width, 2, expansion, span)
        x = _bottleneck(x, width, 1, expansion, span)
    x = layers.Conv3D(4 * filters[-1], 1, use_bias=False)(x)
    x = layers.Activation("silu")(batch_normalised(x))

    # === The mean over all frames so far, as it is at the last one ===
    x = LastFrame()(CausalMean()(x))
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip.input, probabilities(x, classes), name="movinet")


def _bottleneck(x, filters: int, stride: int, expansion: int, span: int):
    """An inverted bottleneck: wide inside, narrow outside, `stride` in space."""
    # Normalised by batches: group normalisation over a clip would look ahead, and a single frame
    # that does not move has no variance to divide by.
    shortcut, inner = x, expansion * x.shape[-1]
    x = layers.Conv3D(inner, 1, use_bias=False)(x)
    x = layers.Activation("silu")(batch_normalised(x))
    x = DepthwiseConv3D((1, 3, 3), (1, stride, stride))(x)
    x = CausalConvolution(span)(x)
    x = layers.Activation("silu")(batch_normalised(x))
    x = _excited(x)
    x = batch_normalised(layers.Conv3D(filters, 1, use_bias=False)(x))
    return layers.Add()([x, shortcut]) if shortcut.shape == x.shape else x


def _excited(x):
    """Squeeze and excitation (Hu et al., CVPR 2018), over the frames so far."""
    channels = x.shape[-1]
    y = CausalMean()(x)
    y = layers.Dense(max(8, channels // 4), activation="relu")(y)
    y = layers.Dense(channels, activation="sigmoid")(y)
    return layers.Multiply()([x, layers.Reshape((-1, 1, 1, channels))(y)])
