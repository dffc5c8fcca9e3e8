"""The networks of a CycleGAN: residual generators, and discriminators that judge patches.

Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks" (ICCV
2017), after Johnson et al. (ECCV 2016) and Isola et al. (CVPR 2017).
"""

from typing import Any

import keras
from keras import layers, ops

_PACKAGE = "kinoflow"
SPREAD = 0.02  # the standard deviation of the first weights, as in the paper
# convolutions with stride 2 of a discriminator, by the side of its patches in pixels
STRIDED = {16: 1, 34: 2, 70: 3, 142: 4}


def generator(
    filters: int = 64, blocks: int = 9, halvings: int = 2, name: str | None = None
) -> keras.Model:
    """A network that repaints pictures: RGB in [0, 1], (B, H, W, 3) to (B, H, W, 3).

    H and W are multiples of 4, and at least 16. Unlike in the paper, pictures are enlarged by
    repeating pixels before a convolution, since transposed convolutions leave a chequered pattern
    (Odena et al., "Deconvolution and Checkerboard Artifacts", Distill 2016).

    Args:
        filters: of the first convolution; their number doubles with each halving.
        blocks: how many residual blocks there are; the paper has 6 for pictures of 128 pixels and
            9 for 256.
        halvings: how often the sides of a picture are halved before the residual blocks, 1 or 2.
            The paper has 2. With 1, small pictures keep more of their lines.
        name: of the model.
    """
    picture = keras.Input((None, None, 3))
    x = _convolution(picture * 2.0 - 1.0, filters, 7)
    for halving in range(1, halvings + 1):
        x = _normalised(_conv(2**halving * filters, 3, strides=2, padding="same")(x))
    depth = 2**halvings * filters
    for _ in range(blocks):
        y = _convolution(x, depth, 3)
        y = _instance_norm()(_conv(depth, 3)(Mirrored(1)(y)))
        x = x + y
    for halving in reversed(range(halvings)):
        x = layers.UpSampling2D(2, interpolation="nearest")(x)
        x = _convolution(x, 2**halving * filters, 3)
    x = layers.Conv2D(3, 7, kernel_initializer=_initial(), activation="tanh")(Mirrored(3)(x))
    return keras.Model(picture, (x + 1.0) / 2.0, name=name)


def discriminator(filters: int = 64, patch: int = 70, name: str | None = None) -> keras.Model:
    """A network that tells pictures of a domain from fakes, patch by patch.

    It takes RGB in [0, 1], (B, H, W, 3), and gives (B, h, w, 1): towards 1 where it takes a patch
    for real, and towards 0 where not.

    Args:
        filters: of the first convolution; their number doubles with each, up to eight times.
        patch: the side of a patch in pixels: 16, 34, 70 or 142.
        name: of the model.

    Raises KeyError for another size of patches.
    """
    picture = keras.Input((None, None, 3))
    x = layers.LeakyReLU(0.2)(_conv(filters, 4, strides=2, padding="same")(picture * 2.0 - 1.0))
    for place in range(1, STRIDED[patch] + 1):
        stride = 2 if place < STRIDED[patch] else 1
        depth = filters * min(2**place, 8)
        # a stride of 1 takes the padding of the paper, which is 1 on each side
        edge = "same" if stride == 2 else "valid"
        x = x if stride == 2 else layers.ZeroPadding2D(1)(x)
        x = _instance_norm()(_conv(depth, 4, strides=stride, padding=edge)(x))
        x = layers.LeakyReLU(0.2)(x)
    x = layers.Conv2D(1, 4, kernel_initializer=_initial())(layers.ZeroPadding2D(1)(x))
    return keras.Model(picture, x, name=name)


@keras.saving.register_keras_serializable(_PACKAGE)
class Mirrored(layers.Layer):
    """Pictures (B, H, W, C) with their edges mirrored outwards, (B, H + 2n, W + 2n, C).

    A frame of zeros would show as a frame in the output.

    Args:
        width: n, in pixels; less than H and W.
        **kwargs: of the base class.
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width

    def call(self, x):
        # in parts, since not every backend mirrors the two axes in the middle
        n = self.width
        top, bottom = x[:, 1 : n + 1], x[:, -n - 1 : -1]
        x = ops.concatenate([ops.flip(top, axis=1), x, ops.flip(bottom, axis=1)], axis=1)
        left, right = x[:, :, 1 : n + 1], x[:, :, -n - 1 : -1]
        return ops.concatenate([ops.flip(left, axis=2), x, ops.flip(right, axis=2)], axis=2)

    def compute_output_shape(self, input_shape):
        batch, height, width, depth = input_shape
        more = 2 * self.width
        return (batch, height and height + more, width and width + more, depth)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def _convolution(x: Any, filters: int, size: int) -> Any:
    return _normalised(_conv(filters, size)(Mirrored(size // 2)(x)))


def _normalised(x: Any) -> Any:
    return layers.ReLU()(_instance_norm()(x))


def _conv(filters: int, size: int, **options: Any) -> layers.Layer:
    # what follows takes the mean away, and so any bias
    bias = {"use_bias": False, "kernel_initializer": _initial()}
    return layers.Conv2D(filters, size, **(bias | options))


def _instance_norm() -> layers.Layer:
    # Ulyanov et al., "Instance Normalization" (2016)
    return layers.GroupNormalization(groups=-1, epsilon=1e-5)


def _initial() -> keras.Initializer:
    return keras.initializers.RandomNormal(stddev=SPREAD)
