"""Which modules run when a module is imported: the import graph of this repository's packages.

The modules that a stage depends on, that a model is made of and that a Bento has to hold are all
found in this graph, so that no list of them is kept by hand.
"""

from collections.abc import Collection, Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grimp import ImportGraph


def imported(
    modules: Iterable[str], packages: Collection[str], *, without: Collection[str] = ()
) -> set[str]:
    """The modules of `packages` that importing `modules` may run, themselves included.

    Imports within functions count, imports only for type checkers do not. A package's `__init__`
    counts, because it runs before the package's modules.

    Args:
        modules: dotted names.
        packages: the names of the packages to look into; imports from others are ignored.
        without: modules to leave out, together with those that only they import.

    Raises ValueError for a module that does not exist.
    """
    graph = import_graph(tuple(sorted(packages)))
    found: set[str] = set()
    waiting = [*modules]
    while waiting:
        module = waiting.pop()
        if module in found or module in without:
            continue
        if module not in graph.modules:
            raise ValueError(f"{', '.join(sorted(packages))} hold no module {module}")
        found.add(module)
        waiting += graph.find_modules_directly_imported_by(module)
        parent = module.rpartition(".")[0]
        waiting += [parent] if parent else []
    return found


def source(module: str) -> Path:
    """The file of a module, found without importing it; for a package its `__init__.py`.

    Raises ValueError for a module that does not exist.
    """
    top, *rest = module.split(".")
    spec = find_spec(top)
    if spec is not None and spec.origin is not None:
        below = Path(spec.origin).parent.joinpath(*rest)
        for path in (below / "__init__.py", below.with_name(f"{below.name}.py")):
            if path.is_file():
                return path
    raise ValueError(f"there is no module {module}")


@cache
def import_graph(packages: tuple[str, ...]) -> "ImportGraph":
    """The imports of all modules of `packages`, except those only for type checkers."""
    import grimp

    return grimp.build_graph(*packages, exclude_type_checking_imports=True, cache_dir=None)
