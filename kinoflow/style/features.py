"""The features of a pretrained image network, in which content and style are measured."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from kinoflow.models.layers.backbones import SQUEEZENET, Recoloured, freeze, image_network
from kinoflow.system.errors import UserError


class Layers(NamedTuple):
    """Which layers of a network say what a picture shows, and which say how it is painted."""

    content: tuple[str, ...]
    style: tuple[str, ...]


DEFAULTS = {
    SQUEEZENET: Layers(
        ("fire3_concat",), ("conv1", "fire2_concat", "fire4_concat", "fire6_concat", "fire8_concat")
    ),
    "VGG16": Layers(("block4_conv2",), tuple(f"block{number}_conv1" for number in range(1, 6))),
    "VGG19": Layers(("block4_conv2",), tuple(f"block{number}_conv1" for number in range(1, 6))),
}


class Features:
    """What a picture shows and how it is painted, as a pretrained network sees it.

    Args:
        network: SqueezeNet, or a network of keras.applications.
        weights: the path of a file, or the name of weights that Keras downloads (`imagenet`).
        content: names of layers; those of `DEFAULTS` if empty.
        style: names of layers; those of `DEFAULTS` if empty.

    Raises UserError for a network or layer that does not exist, for a network without defaults
    whose layers are not given, and for weights that cannot be had.
    """

    def __init__(
        self,
        network: str = SQUEEZENET,
        weights: str | None = "imagenet",
        content: Sequence[str] = (),
        style: Sequence[str] = (),
    ) -> None:
        defaults = DEFAULTS.get(network)
        if defaults is None and not (content and style):
            raise UserError(f"name the layers of {network} for content and for style")
        self.layers = Layers(
            tuple(content) or (defaults.content if defaults else ()),
            tuple(style) or (defaults.style if defaults else ()),
        )
        self.network = network
        whole, (matrix, shift) = image_network(network, (None, None, 3), weights)  # type: ignore[arg-type]
        freeze(whole)
        names = {layer.name for layer in whole.layers}
        for name in (*self.layers.content, *self.layers.style):
            if name not in names:
                known = ", ".join(layer.name for layer in whole.layers[1:])
                raise UserError(f"{network} has no layer {name!r}; there are {known}")
        wanted = [*self.layers.content, *self.layers.style]
        inner = keras.Model(whole.inputs, [whole.get_layer(name).output for name in wanted])
        picture = keras.Input((None, None, 3))
        # networks are fed from colours in [-1, 1]
        outputs = inner(Recoloured(matrix, shift)(picture * 2.0 - 1.0))
        self.model = keras.Model(picture, outputs, name="features")
        self.model.trainable = False

    def __call__(self, pictures: Any) -> tuple[list[Any], list[Any]]:
        """The features for content and those for style, one (B, h, w, D) for each layer.

        Args:
            pictures: RGB in [0, 1], (B, H, W, 3); H and W at least 32.
        """
        outputs = self.model(pictures, training=False)
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        count = len(self.layers.content)
        return outputs[:count], outputs[count:]
