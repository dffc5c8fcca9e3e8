"""Image networks with pretrained weights: those of keras.applications, and SqueezeNet."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kinoflow.models.layers.base import register
from kinoflow.system.errors import UserError

# built here, because keras.applications has no network as small
SQUEEZENET = "SqueezeNet"


@register
class Recoloured(layers.Layer):
    """RGB in [-1, 1] (..., 3) to what a pretrained network expects: x @ matrix + shift."""

    def __init__(self, matrix: list[list[float]], shift: list[float], **kwargs):
        super().__init__(**kwargs)
        self.matrix = matrix
        self.shift = shift

    def call(self, x):
        matrix = ops.convert_to_tensor(self.matrix, dtype=x.dtype)
        return x @ matrix + ops.convert_to_tensor(self.shift, dtype=x.dtype)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return super().get_config() | {"matrix": self.matrix, "shift": self.shift}


def pretrained(x, name: str, weights: str | None, *, trainable: bool) -> Any:
    """The features that an image network without its head gives for images.

    Args:
        x: colours in [-1, 1], (N, H, W, 3).
        name: of a network of keras.applications, or SqueezeNet.
        weights: the path of a file, the name of weights that Keras downloads (`imagenet`), or None
            for random weights.
        trainable: whether the network learns; otherwise it is frozen.

    Returns features (N, h, w, D).

    Raises UserError for an unknown network, a file that does not exist or does not fit, and
    weights that cannot be downloaded; ValueError for images with other than three channels.
    """
    if x.shape[-1] != 3:
        raise ValueError("a backbone sees only colours: set inputs to frames")
    network, (matrix, shift) = image_network(name, tuple(x.shape[1:]), weights)
    if not trainable:
        freeze(network)
    return network(Recoloured(matrix, shift)(x))


def freeze(network: keras.Model) -> None:
    """Switch a network's learning and dropout off: it computes the same in training as later."""
    network.trainable = False
    for layer in network.layers:
        if isinstance(layer, layers.Dropout):
            layer.rate = 0.0


def image_network(
    name: str, shape: tuple[int, int, int], weights: str | None
) -> tuple[keras.Model, tuple[list[list[float]], list[float]]]:
    """An image network without its head, and how to convert colours for it.

    Args:
        name, weights: see `pretrained`.
        shape: of an image, (H, W, 3).

    Returns the network, and the matrix (3, 3) and shift (3,) of `Recoloured`.

    Raises UserError as `pretrained` does.
    """
    if name == SQUEEZENET:
        preprocess = keras.applications.imagenet_utils.preprocess_input
        network = squeezenet(shape)
        if weights is None:  # random weights expect no particular scale of colours
            return network, (np.eye(3).tolist(), [0.0, 0.0, 0.0])
        _load(network, weights)
        return network, _colours(lambda x: preprocess(x, mode="caffe", data_format="channels_last"))
    build, preprocess = _application(name)
    by_name = weights if weights is not None and not _is_path(weights) else None
    try:
        network = build(include_top=False, weights=by_name, input_shape=shape)
    except Exception as error:
        if by_name is None or isinstance(error, ValueError):
            raise
        raise UserError(
            f"the weights {by_name!r} of {name} come over the network, and the download failed "
            f"({error}): fetch them on a machine that is online (Keras keeps them in "
            "~/.keras/models), copy the file and set the option `weights` to its path"
        ) from None
    if weights is not None and by_name is None:
        _load(network, weights)
    return network, _colours(preprocess)


def _application(name: str) -> tuple[Callable[..., keras.Model], Callable[..., Any]]:
    """Keras' builder called `name`, and the preprocessing that its weights expect."""
    known = dict(inspect.getmembers(keras.applications, inspect.isfunction))
    if name not in known:
        raise UserError(f"no backbone {name!r}; there are {SQUEEZENET}, {', '.join(sorted(known))}")
    module = getattr(keras.applications, known[name].__module__.rpartition(".")[2])
    return known[name], module.preprocess_input


def _is_path(weights: str) -> bool:
    return weights.endswith((".h5", ".keras")) or Path(weights).exists()


def _load(network: keras.Model, weights: str) -> None:
    if not _is_path(weights):
        raise UserError(f"there are no weights {weights!r} of {network.name}: give a file's path")
    path = Path(weights).expanduser()
    if not path.is_file():
        raise UserError(f"there is no file {weights} to take the weights of {network.name} from")
    try:
        network.load_weights(path)
    except Exception as error:  # noqa: BLE001  h5py and Keras raise many classes here
        raise UserError(
            f"{weights} does not fit {network.name} without its head ({error})"
        ) from None


def _colours(preprocess) -> tuple[list[list[float]], list[float]]:
    """The matrix (3, 3) and shift (3,) that replace `preprocess`, for RGB in [-1, 1].

    They give for RGB in [-1, 1] what `preprocess` gives for the same colours in [0, 255].

    All preprocessing in keras.applications is affine: it scales, subtracts a mean, and may turn
    RGB into BGR. Its values for black and for the three pure colours determine it.
    """
    probes = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).astype("float32")
    black, *colours = np.asarray(preprocess(probes.reshape(4, 1, 1, 3).copy())).reshape(4, 3)
    matrix = (np.stack(colours) - black) / 2
    shift = black + matrix.sum(axis=0)
    return matrix.tolist(), shift.tolist()


def squeezenet(shape: tuple[int, int, int]) -> keras.Model:
    """SqueezeNet v1.1 without its head: (N, H, W, 3) to (N, h, w, 512), 0.7 million weights.

    Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB
    model size" (2016). The order of its layers is that of published Keras weights.
    """
    image = keras.Input(shape)
    x = _conv_relu(64, 3, strides=2, name="conv1")(image)
    x = layers.MaxPooling2D(3, 2)(x)
    x = _fire(_fire(x, 16, 64, "fire2"), 16, 64, "fire3")
    x = layers.MaxPooling2D(3, 2)(x)
    x = _fire(_fire(x, 32, 128, "fire4"), 32, 128, "fire5")
    x = layers.MaxPooling2D(3, 2)(x)
    x = _fire(_fire(x, 48, 192, "fire6"), 48, 192, "fire7")
    x = _fire(_fire(x, 64, 256, "fire8"), 64, 256, "fire9")
    return keras.Model(image, x, name="squeezenet")


def _fire(x, squeeze: int, expand: int, name: str):
    x = _conv_relu(squeeze, 1, name=f"{name}_squeeze1x1")(x)
    small = _conv_relu(expand, 1, name=f"{name}_expand1x1")(x)
    large = _conv_relu(expand, 3, padding="same", name=f"{name}_expand3x3")(x)
    return layers.Concatenate(name=f"{name}_concat")([small, large])


def _conv_relu(filters: int, kernel: int, **kwargs) -> layers.Layer:
    # Keras' default initial weights are too small for a network without normalisation: the signal
    # fades from layer to layer, and the network hardly learns
    return layers.Conv2D(
        filters, kernel, activation="relu", kernel_initializer="he_uniform", **kwargs
    )
