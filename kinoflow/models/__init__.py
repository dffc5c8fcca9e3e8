"""The architectures, each built by a function that the registry names.

A builder takes a `kinoflow.models.layers.clip.ClipInput`, the number of classes, and its own
options by keyword. It returns a Keras model from clips, uint8 RGB (B, T, H, W, 3) with frames as
large as in the clip store, to probabilities, float32 (B, classes). The model itself scales pixel
values and frames. A builder's docstring explains its options. CONTRIBUTING.md says how to add one.
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


def options_of(builder: Callable[..., "keras.Model"]) -> dict[str, Any]:
    """The names of a builder's options and their defaults."""
    parameters = inspect.signature(builder).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


def build(
    model: str,
    *,
    stored_clip: ClipSpec,
    model_clip: ClipSpec,
    classes: int,
    options: dict[str, Any],
) -> "keras.Model":
    """Build a model, with new weights.

    Args:
        model: its name, a key of `MODELS`.
        stored_clip: the spec of the clip store.
        model_clip: the frames, height and width that the model takes of stored clips, at most
            those of `stored_clip`.
        classes: the number of classes.
        options: arguments of the builder by name; a list stands for a tuple.

    Returns a model from uint8 (B, T, H, W, 3) to float32 (B, classes). T is that of `model_clip`,
    H and W are those of `stored_clip`.

    Raises UserError for an option that the builder does not have, or a value that it refuses.
    """
    from kinoflow.models.layers.clip import clip_input

    builder = registry.builder(model)
    known = options_of(builder)
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
        return builder(clip_input(stored_clip, model_clip), classes, **given)
    except (ValueError, TypeError) as error:
        raise UserError(f"model {model} cannot be built: {error}") from error
