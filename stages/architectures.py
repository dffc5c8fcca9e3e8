"""List the code that each candidate's model is made of, so that a change to it retrains no other.

dvc.yaml can name no file that follows from a candidate's architecture. So each training depends on
a list of its own instead: the modules of its model and of the layers in it, with their contents.
"""

from kinoflow import config
from kinoflow.models import registry
from kinoflow.system import files
from kinoflow.system.imports import imported, source
from kinoflow.workspace import Workspace, run

# these name every architecture and every layer
_ALL = ("kinoflow.models", "kinoflow.models.layers", "kinoflow.models.registry")


def code(model: str) -> dict[str, str]:
    """The MD5 of each module of kinoflow.models that the architecture of that name imports."""
    modules = imported([registry.module(model)], ["kinoflow"], without=_ALL)
    ours = sorted(name for name in modules if name.startswith("kinoflow.models."))
    return {name: files.md5(source(name)) for name in ours}


def main(workspace: Workspace) -> None:
    candidates = config.load(workspace.params).candidates
    with files.replacing_folder(workspace.architectures) as folder:
        for name, candidate in candidates.items():
            document = {"model": candidate.model, "modules": code(candidate.model)}
            files.write_json(folder / f"{name}.json", document)
    print(f"architectures: {len(candidates)} candidates")


if __name__ == "__main__":
    run(main)
