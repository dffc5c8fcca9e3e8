"""I3D: an image network inflated into space and time."""

import keras
import numpy as np
from keras import layers, ops

from kinoflow.models.layers.backbones import Recoloured, freeze, image_network
from kinoflow.models.layers.clip import ClipInput
from kinoflow.models.layers.factorised import FactorisedConv3D
from kinoflow.models.layers.heads import pooled_probabilities

_INFLATED: dict[type, type] = {
    layers.Conv2D: FactorisedConv3D,
    layers.MaxPooling2D: layers.MaxPooling3D,
    layers.AveragePooling2D: layers.AveragePooling3D,
    layers.ZeroPadding2D: layers.ZeroPadding3D,
}
_OF_ANY_RANK = (
    layers.Activation,
    layers.Add,
    layers.BatchNormalization,
    layers.Concatenate,
    layers.Dropout,
    layers.ReLU,
)


def i3d(
    clip: ClipInput,
    classes: int,
    *,
    backbone: str = "SqueezeNet",
    weights: str | None = None,
    trainable: bool = True,
    span: int = 3,
    dropout: float = 0.5,
) -> keras.Model:
    """An image network whose convolutions over images become convolutions over clips.

    Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics
    Dataset" (CVPR 2017). The kernels of the image network are repeated `span` times over time and
    divided by `span`. So the inflated network gives for a still clip, away from its first and
    last frames, what the image network gives for one frame. Convolutions of 1 x 1, and those
    without padding, do not extend over time. Time is not pooled before the head. Without
    pretrained weights the network learns only at low learning rates, since plain networks have no
    normalisation.

    Args:
        backbone: SqueezeNet or a plain network of keras.applications (VGG16, ResNet50). The
            smallest one, for small data.
        weights: of the backbone: a name that Keras downloads (imagenet) or a file's path; null:
            random weights, so that nothing is downloaded unasked.
        trainable: whether the backbone learns; on, since image weights know nothing of time.
        span: frames that each inflated convolution spans; 3, since most image kernels are 3x3.
        dropout: fraction of the pooled features set to zero in training; half, for small data.

    Raises ValueError for a backbone with layers that cannot be inflated; UserError for an unknown
    backbone and for weights that cannot be loaded.
    """
    image, (matrix, shift) = image_network(backbone, (clip.height, clip.width, 3), weights)
    network = inflated(image, clip.frames, span)
    if not trainable:
        freeze(network)
    x = network(Recoloured(matrix, shift)(clip.pixels()))
    return keras.Model(clip.input, pooled_probabilities(x, classes, dropout), name="i3d")


def inflated(image: keras.Model, frames: int, span: int) -> keras.Model:
    """Turn a network over images (N, H, W, C) into one over clips (N, T, H, W, C).

    Args:
        image: the network over images; its weights are taken over.
        frames: T.
        span: frames that each inflated convolution spans.

    Raises ValueError for a network with a layer that cannot be inflated.
    """
    pairs: list[tuple[layers.Layer, layers.Layer]] = []

    def inflate(layer: layers.Layer) -> layers.Layer:
        pairs.append((layer, _inflated_layer(layer, span)))
        return pairs[-1][1]

    clip = keras.Input((frames, *image.input_shape[1:]))
    network = keras.models.clone_model(image, input_tensors=clip, clone_function=inflate)
    for flat, deep in pairs:
        weights = zip(flat.weights, deep.weights, strict=True)
        deep.set_weights([_inflated_weights(*pair) for pair in weights])
    return network


def _inflated_layer(layer: layers.Layer, span: int) -> layers.Layer:
    if type(layer) not in {*_INFLATED, *_OF_ANY_RANK}:
        raise ValueError(
            f"{layer.name} of the backbone is a {type(layer).__name__}, which has no inflation"
        )
    config = layer.get_config()
    if config.get("axis") == 3:  # the channels of an image
        config["axis"] = 4
    if isinstance(layer, layers.ZeroPadding2D):
        config["padding"] = ((0, 0), *config["padding"])
    for name in ("kernel_size", "pool_size", "strides", "dilation_rate"):
        if name in config:
            config[name] = (1, *config[name])
    # a convolution without padding would shorten the clip if it spanned several frames
    if isinstance(layer, layers.Conv2D) and layer.padding == "same" and max(layer.kernel_size) > 1:
        config["kernel_size"] = (span, *layer.kernel_size)
    kind: type[layers.Layer] = _INFLATED.get(type(layer), type(layer))
    return kind.from_config(config)


def _inflated_weights(flat: keras.Variable, deep: keras.Variable) -> np.ndarray:
    """The values for `deep`: those of `flat`, with kernels repeated over time and divided."""
    value = ops.convert_to_numpy(flat)
    if value.shape == tuple(deep.shape):
        return value
    return np.broadcast_to(value[None] / deep.shape[0], deep.shape)
