"""A model's features of a clip: what its last layer decides by."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.video.spec import Frames

if TYPE_CHECKING:
    import keras

MOST = 64  # numbers that are kept of a clip's features
_SEED = 17

Features = NDArray[np.float32]
# takes uint8 (B, T, H, W, 3), gives probabilities (B, classes) and features (B, features)
Forward = Callable[[Frames], tuple[Probabilities, Features]]


def forward(bundle: Bundle) -> Forward:
    """A bundle's compiled model that gives its features beside its probabilities, in one pass.

    The probabilities are those of `bundle.forward`, bit for bit. Features are the inputs of the
    layer that gives each class its score, averaged over time where that layer looks at each frame.
    With more than 64 of them, 64 random projections stand for them, the same in every process: they
    keep the distances between clips (Johnson and Lindenstrauss, "Extensions of Lipschitz Mappings
    into a Hilbert Space", 1984). A model without such a layer has no features, (B, 0), nor has a
    form, which gives answers alone.
    """
    decided_by = penultimate(bundle.model) if bundle.is_network else None
    if decided_by is None:
        return lambda clips: (
            (answers := bundle.forward(clips)),
            np.zeros((len(answers), 0), np.float32),
        )
    both = _compiled(bundle.model, decided_by)

    def call(clips: Frames) -> tuple[Probabilities, Features]:
        probabilities, found = both(clips)
        return probabilities, project(found.reshape(len(clips), -1, found.shape[-1]).mean(axis=1))

    return call


def penultimate(model: "keras.Model") -> Any:
    """The tensor by which a model's last dense layer decides, (B, features) or (B * T, features).

    None if no dense layer gives the classes their scores.
    """
    import keras

    classes = model.output_shape[-1]
    for layer in reversed(model.layers):
        if isinstance(layer, keras.layers.Dense) and layer.units == classes:
            return layer.input
    return None


def project(features: Features) -> Features:
    """Features (B, n) as they are if n is at most 64, else 64 random projections of them."""
    if features.shape[1] <= MOST:
        return features.astype(np.float32)
    return (features @ _directions(features.shape[1])).astype(np.float32)


@cache
def _directions(features: int) -> Features:
    random = np.random.default_rng(_SEED).standard_normal((features, MOST), np.float32)
    return random / np.float32(np.sqrt(MOST))


def _compiled(
    model: "keras.Model", decided_by: Any
) -> Callable[[Frames], tuple[Probabilities, Features]]:
    """As `kinoflow.bundle.compiled`, with a second output."""
    import keras

    both = keras.Model(model.inputs, [model.output, decided_by])
    if keras.backend.backend() != "tensorflow":

        def predict(clips: Frames) -> tuple[Probabilities, Features]:
            probabilities, features = both.predict_on_batch(clips)
            return np.asarray(probabilities), np.asarray(features)

        return predict
    import tensorflow as tf

    run = tf.function(
        lambda clips: both(clips, training=False),
        input_signature=[tf.TensorSpec(model.input_shape, "uint8")],
        autograph=False,
        jit_compile=model.jit_compile,
    ).get_concrete_function()

    def call(clips: Frames) -> tuple[Probabilities, Features]:
        probabilities, features = run(tf.convert_to_tensor(clips))
        return probabilities.numpy(), features.numpy()

    return call
