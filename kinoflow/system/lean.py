"""Programs that start sooner: Keras without the libraries that it only draws and wraps with.

Importing Keras imports scikit-learn, Matplotlib and IPython where they are installed, for its
wrappers and galleries, which no program of kinoflow uses. That is a third of the processor time
of the import, about 1.2 of 3.6 seconds, and a run of the pipeline imports Keras some thirty times.
Keras goes without any of them by itself if it is told that they are not installed.

Another fifth is Python's garbage collector, which looks at all that the import makes seven times,
and finds next to nothing: it waits until Keras is there.
"""

import gc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_LEFT_OUT = {"IPython", "matplotlib", "sklearn"}


class _Finder:
    """A finder of modules: of Keras, which it makes start sooner; of nothing else."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "keras":
            return _uncollected(PathFinder.find_spec(name, path, target))
        if name in _LEFT_OUT and _importer().startswith("keras."):
            raise ModuleNotFoundError(f"kinoflow leaves {name} out of Keras", name=name)
        return None  # the other finders know


def _uncollected(spec: ModuleSpec | None) -> ModuleSpec | None:
    """The module, which is then imported without garbage collection."""
    if spec is not None and spec.loader is not None:
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            collects = gc.isenabled()
            gc.disable()
            try:
                execute(module)
            finally:
                # what was imported stays until the program ends: no collection looks at it again
                gc.freeze()
                if collects:
                    gc.enable()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
    return spec


def _importer() -> str:
    """The module whose import statement is being run."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("importlib."):
        frame = frame.f_back  # type: ignore[assignment]
    return "" if frame is None else str(frame.f_globals.get("__name__", ""))


def start_sooner() -> None:
    """Import Keras in this way in this process, unless it is imported already.

    For programs, not for libraries: whoever imports kinoflow has all of Keras.
    """
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
