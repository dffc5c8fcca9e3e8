"""A model whose layers compute in 16 bits, for GPUs, which have units of their own for that.

Micikevicius et al., "Mixed Precision Training" (ICLR 2018), at inference: weights are kept in
float32, products and activations are in 16 bits. What comes before the first weights stays in
float32, since features made by hand have large values, and so do the layers from the last weights
on: probabilities are as fine as ever.
"""

from dataclasses import replace
from typing import Any

from kinoflow.bundle import Bundle


def mixed(bundle: Bundle, precision: str) -> Bundle:
    """A bundle with the same weights, whose layers compute in a precision.

    Args:
        bundle: of a Keras model.
        precision: `float16`, `bfloat16`, or `float32`: the bundle itself.
    """
    if precision == "float32":
        return bundle
    import keras

    model = bundle.model
    places = [place for place, layer in enumerate(model.layers) if layer.weights]
    exact = {layer.name for layer in model.layers[: places[0]] + model.layers[places[-1] :]}

    def converted(layer: Any) -> Any:
        if layer.name in exact:
            return layer.from_config(layer.get_config())
        return layer.from_config(layer.get_config() | {"dtype": f"mixed_{precision}"})

    copy = keras.models.clone_model(model, clone_function=converted, recursive=True)
    copy.set_weights(model.get_weights())
    return replace(bundle, trained=copy)
