"""The architectures, one module per family.

A builder takes the clip spec of the store, the spec that the model sees (at most the store's),
the number of classes, and its own options by keyword. It returns a Keras model from uint8 RGB
(B, T, H, W, 3), T frames of the stored size, to float32 probabilities (B, classes); scaling of
values and of size lives inside the model.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kinoflow.models import registry
from kinoflow.system.errors import UserError
from kinoflow.video.spec import ClipSpec

if TYPE_CHECKING:
    import keras

    MODELS: dict[str, Callable[..., keras.Model]]


def __getattr__(name: str) -> Any:
    if name == "MODELS":
        return {model: registry.builder(model) for model in registry.MODULES}
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def build(
    model: str, stored: ClipSpec, seen: ClipSpec, classes: int, options: dict[str, Any]
) -> "keras.Model":
    """The model of that name, with fresh weights.

    Args:
        model: one of `MODELS`.
        stored: the spec of the clips that it is given.
        seen: what its first layer sees of them, at most `stored`.
        classes: how many there are.
        options: arguments of the builder by name, lists for tuples.

    Raises UserError for an option that its builder does not have, or a value it refuses.
    """
    builder = registry.builder(model)
    known = {
        name: parameter
        for name, parameter in inspect.signature(builder).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    unknown = options.keys() - known.keys()
    if unknown:
        raise UserError(
            f"model {model} has no option {', '.join(sorted(unknown))}; "
            f"there are {', '.join(known)}"
        )
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in options.items()
    }
    try:
        return builder(stored, seen, classes, **given)
    except (ValueError, TypeError) as error:
        raise UserError(f"model {model} cannot be built: {error}") from error
