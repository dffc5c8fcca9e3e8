"""Programs that start sooner: Keras without the libraries that it only draws and wraps with.

Importing Keras imports scikit-learn, Matplotlib and IPython where they are installed, for its
wrappers and galleries, which no program of kinoflow uses. That is a third of the processor time
of the import, about 1.2 of 3.6 seconds, and a run of the pipeline imports Keras some thirty times.
Keras goes without any of them by itself if it is told that they are not installed.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

_LEFT_OUT = {"IPython", "matplotlib", "sklearn"}


class _NotForKeras:
    """A finder of modules that knows of no such library, if it is Keras that asks."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in _LEFT_OUT and _importer().startswith("keras."):
            raise ModuleNotFoundError(f"kinoflow leaves {name} out of Keras", name=name)
        return None  # the other finders know


def _importer() -> str:
    """The module whose import statement is being run."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("importlib."):
        frame = frame.f_back  # type: ignore[assignment]
    return "" if frame is None else str(frame.f_globals.get("__name__", ""))


def start_sooner() -> None:
    """Leave those libraries out of Keras in this process, unless it is imported already.

    For programs, not for libraries: whoever imports kinoflow has all of Keras.
    """
    if _NotForKeras not in sys.meta_path:
        sys.meta_path.insert(0, _NotForKeras)
