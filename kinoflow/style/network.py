"""A network that repaints pictures in one style, in one pass.

Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution" (ECCV 2016),
with instance normalisation: Ulyanov et al., "Instance Normalization: The Missing Ingredient for
Fast Stylization" (2016). Pictures grow again by nearest neighbours and a convolution instead of a
transposed convolution, which leaves a checkerboard: Odena et al., "Deconvolution and Checkerboard
Artifacts" (Distill, 2016).

It differs from Johnson's network where that one takes most of its time: no layer sees all pixels.
The last one gives four pixels at each place: Shi et al., "Real-Time Single Image and Video
Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network" (CVPR 2016). And what it
says is added to the picture's own colours, so fine detail need not pass it. These are normalised
first and brought to the style's palette by a learned map: what is painted then does not depend on
how dark or colourful a picture is, and a style is learned in half the steps.

And there is a pattern that is learned and does not depend on the picture. Convolutions answer the
same wherever the picture is the same, so without one a bare wall stays bare, however much style is
asked for. In Ulyanov et al., "Texture Networks: Feed-forward Synthesis of Textures and Stylized
Images" (ICML 2016), noise takes this place. A pattern that is learned needs fewer layers to become
strokes, and stays the same from frame to frame.
"""

from typing import Any

import keras
from keras import layers, ops

from kinoflow.models.layers.base import register

SMALLEST = 16  # pixels: each side of a picture, at least
NAME = "transform"  # of the network


def transform_network(filters: int = 16, blocks: int = 3, pattern: int = 24) -> keras.Model:
    """RGB in [0, 1], (B, H, W, 3), to the same of any size from 16 pixels, repainted.

    Args:
        filters: of layers at half the size; those at a quarter have twice as many.
        blocks: residual blocks, at a quarter of the size.
        pattern: the side of the pattern, in places of a quarter of the size; 0: no pattern.
    """
    picture = keras.Input((None, None, 3), name="picture")
    x = _convolved(picture, filters, 5, "half", strides=2)
    x = _convolved(x, 2 * filters, 3, "quarter", strides=2)
    if pattern:
        x = Patterned(pattern, name="pattern")(x)
    for number in range(blocks):
        x = _residual(x, 2 * filters, f"block{number}")
    x = layers.UpSampling2D(2, interpolation="nearest", name="grown")(x)
    if pattern:
        x = Patterned(2 * pattern, name="fine_pattern")(x)
    x = _convolved(x, filters, 3, "half_again")
    # where the picture decides what becomes of the fine pattern
    x = _residual(x, filters, "half_block")
    x = Reflected(1, name="change_margin")(x)
    # three colours of two by two pixels
    x = layers.Conv2D(12, 3, kernel_initializer="zeros", name="change")(x)
    # each colour less its mean, and divided by its spread; epsilon keeps the grain of a picture of
    # one colour small
    colours = layers.GroupNormalization(groups=-1, epsilon=1e-3, name="colours")(picture)
    palette = layers.Dense(3, kernel_initializer="identity", name="palette")(colours)
    return keras.Model(picture, Repainted(name="repainted")([palette, x]), name=NAME)


def _convolved(
    x: Any, filters: int, kernel: int, name: str, *, strides: int = 1, relu: bool = True
) -> Any:
    x = Reflected(kernel // 2, name=f"{name}_margin")(x)
    # normalisation takes a bias away again
    x = layers.Conv2D(filters, kernel, strides=strides, use_bias=False, name=name)(x)
    # a group for each channel: instance normalisation
    x = layers.GroupNormalization(groups=-1, epsilon=1e-5, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _residual(x: Any, filters: int, name: str) -> Any:
    change = _convolved(x, filters, 3, f"{name}_a")
    change = _convolved(change, filters, 3, f"{name}_b", relu=False)
    return layers.Add(name=name)([x, change])


@register
class Reflected(layers.Layer):
    """Pictures (B, H, W, C) with a margin that reflects them; zeros would show as a frame.

    Args:
        margin: pixels on each side, fewer than H and W.
    """

    def __init__(self, margin: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.margin = margin

    def call(self, x: Any) -> Any:
        around = (self.margin, self.margin)
        return ops.pad(x, ((0, 0), around, around, (0, 0)), mode="reflect")

    def compute_output_shape(self, shape: Any) -> Any:
        batch, height, width, channels = shape
        grown = [side if side is None else side + 2 * self.margin for side in (height, width)]
        return batch, *grown, channels

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"margin": self.margin}


@register
class Patterned(layers.Layer):
    """Adds a pattern that is learned, and repeated over the plane, to features (B, H, W, C).

    Args:
        side: of the pattern, in places.
    """

    def __init__(self, side: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.side = side

    def build(self, shape: Any) -> None:
        self.pattern = self.add_weight(
            shape=(1, self.side, self.side, shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=0.5),
            name="pattern",
        )

    def call(self, x: Any) -> Any:
        _, height, width, _ = ops.shape(x)
        down, across = -(-height // self.side), -(-width // self.side)
        return x + ops.tile(self.pattern, (1, down, across, 1))[:, :height, :width]

    def compute_output_shape(self, shape: Any) -> Any:
        return shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"side": self.side}


@register
class Repainted(layers.Layer):
    """Logits of a picture's colours, (B, H, W, 3), and how to change them; gives the colours.

    The changes (B, h, w, 12) are those of two by two pixels each. 2h and 2w may be a few pixels
    more than H and W; what is too much is cut off.
    """

    def call(self, inputs: Any) -> Any:
        logits, changes = inputs
        _, height, width, _ = ops.shape(logits)
        _, rows, columns, _ = ops.shape(changes)
        squares = ops.reshape(changes, (-1, rows, columns, 2, 2, 3))
        change = ops.reshape(
            ops.transpose(squares, (0, 1, 3, 2, 4, 5)), (-1, 2 * rows, 2 * columns, 3)
        )
        return ops.sigmoid(logits + change[:, :height, :width])

    def compute_output_shape(self, shapes: Any) -> Any:
        return shapes[0]
