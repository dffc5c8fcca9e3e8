"""List the code behind each candidate's model, so that editing one model retrains no other.

dvc.yaml cannot say which modules a candidate's model imports. So each training depends on a list
made here instead: the modules of its model and of the layers in it, with the MD5 of each.
"""

from kinoflow import config
from kinoflow.models import registry
from kinoflow.system import files
from kinoflow.system.imports import imported, source
from kinoflow.workspace import Workspace, run

# not followed, since they name every architecture and every layer
_ALL = ("kinoflow.models", "kinoflow.models.layers", "kinoflow.models.registry")


def code(model: str) -> dict[str, str]:
    """The MD5 of each module of kinoflow.models that the model of that name imports, by module."""
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
