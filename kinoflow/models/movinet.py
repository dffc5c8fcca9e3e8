"""MoViNet: mobile, causal and streaming."""

import keras
from keras import layers

from kinoflow.models.layers.causal import CausalConvolution, CausalMean
from kinoflow.models.layers.clip import ClipInput, Inputs
from kinoflow.models.layers.depthwise import DepthwiseConv3D
from kinoflow.models.layers.factorised import FactorisedConv3D
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
    """Inverted (2+1)D bottlenecks that see only the past, with squeeze and excitation.

    Kondratyuk et al., "MoViNets: Mobile Video Networks for Efficient Video Recognition" (CVPR
    2021): convolution in space, causal convolution in time, and means over the frames so far. So
    the model can read a video of any length frame by frame, in constant memory
    (`kinoflow.models.streaming.Stream`), and then predicts what it predicts from the whole clip.

    Args:
        filters: channels of each stage, two bottlenecks of which the first halves space. About
            those of the paper's smallest network.
        expansion: how many times as many channels a bottleneck has inside as it is given; about
            the paper's.
        span: frames that each causal convolution spans, up to the present one; 3, as in most of
            the paper's.
        inputs: what the network sees of each frame: its colours (`frames`), their change since
            the frame before (`differences`), or `both` stacked. Change alone, since with it
            R3D does best on few recordings (benchmarks/accuracy.md).
        dropout: fraction of the pooled features set to zero in training; for small data.
    """
    x = clip.pixels(inputs)
    x = FactorisedConv3D(filters[0], (1, 3, 3), (1, 2, 2), padding="same", use_bias=False)(x)
    x = layers.Activation("silu")(batch_normalised(x))
    for width in filters:
        x = _bottleneck(x, width, 2, expansion, span)
        x = _bottleneck(x, width, 1, expansion, span)
    x = FactorisedConv3D(4 * filters[-1], 1, use_bias=False)(x)
    x = layers.Activation("silu")(batch_normalised(x))

    # === The mean over all frames so far, taken at the last frame ===
    x = LastFrame()(CausalMean()(x))
    x = layers.Dropout(dropout)(x)
    return keras.Model(clip.input, probabilities(x, classes), name="movinet")


def _bottleneck(x, filters: int, stride: int, expansion: int, span: int):
    """An inverted bottleneck: wide inside, narrow outside, `stride` in space."""
    # Batch normalisation, because group normalisation over a clip would look ahead. Over a single
    # frame it would have no variance to divide by if nothing moves.
    shortcut, inner = x, expansion * x.shape[-1]
    x = FactorisedConv3D(inner, 1, use_bias=False)(x)
    x = layers.Activation("silu")(batch_normalised(x))
    x = DepthwiseConv3D((1, 3, 3), (1, stride, stride))(x)
    x = CausalConvolution(span)(x)
    x = layers.Activation("silu")(batch_normalised(x))
    x = _squeeze_and_excite(x)
    x = batch_normalised(FactorisedConv3D(filters, 1, use_bias=False)(x))
    return layers.Add()([x, shortcut]) if shortcut.shape == x.shape else x


def _squeeze_and_excite(x):
    """Squeeze and excitation (Hu et al., CVPR 2018), over the frames so far."""
    channels = x.shape[-1]
    y = CausalMean()(x)
    y = layers.Dense(max(8, channels // 4), activation="relu")(y)
    y = layers.Dense(channels, activation="sigmoid")(y)
    return layers.Multiply()([x, layers.Reshape((-1, 1, 1, channels))(y)])
