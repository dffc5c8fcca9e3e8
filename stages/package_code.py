"""Which code a Bento holds: the modules that serve, and the files that they read."""

import shutil
from pathlib import Path

from kinoflow.compress.formats import FORMATS
from kinoflow.system import imports

# what BentoML imports, and the two programs that serve it
ENTRY_POINTS = ("serving.service", "serving.server", "serving.worker")
# what runs a form, by its format; `kinoflow.compress.forms` imports it by name
RUNTIMES = {name: f"kinoflow.compress.runner.runtime_{name}" for name in FORMATS}
# folders with files that modules read, by module
READ = {"serving.pages": "serving/page"}


def copy_code(folder: Path, form: str | None = None) -> None:
    """Copy into `folder` all modules that the service imports, and the files that they read.

    Args:
        folder: the folder to fill.
        form: the format of the model; None: it is a bundle.
    """
    runtime = [RUNTIMES[form]] if form else []
    modules = imports.imported([*ENTRY_POINTS, *runtime], ("kinoflow", "serving"))
    for module in modules:
        source = imports.source(module)
        path = Path(*module.split("."))
        target = folder / (path / source.name if source.name == "__init__.py" else path)
        target = target.with_suffix(".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for module in modules & READ.keys():
        beside = imports.source(module).parent / Path(READ[module]).name
        shutil.copytree(beside, folder / READ[module], ignore=shutil.ignore_patterns(".*"))
