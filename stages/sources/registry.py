"""Sources by name: `source: x` in params.yaml is the function `items` of `stages.sources.x`."""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from kinoflow.config import Dataset
from stages import sources
from stages.sources.item import Item

Items = Callable[[Dataset, int, Path], list[Item]]
"""Lists the files of a data set: from the settings, the seed and the folder for downloads."""


def find(name: str) -> Items:
    """The function that lists the files of the source called `name`.

    Raises LookupError if no module of this package is a source of that name.
    """
    module = f"{sources.__name__}.{name}"
    try:
        found: Items = import_module(module).items
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name != module:
            raise
        raise LookupError(
            f"there is no source {name!r}: it takes a module {module} with a function items"
        ) from None
    return found


def names() -> list[str]:
    """The names of all sources: of the modules of this package that have a function `items`."""
    modules = [module.name for module in pkgutil.iter_modules(sources.__path__)]
    return [
        name for name in modules if hasattr(import_module(f"{sources.__name__}.{name}"), "items")
    ]
