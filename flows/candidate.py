"""Train and score one candidate, as a worker of a Dask cluster does: see `flows.cluster`.

`python -m flows.candidate NAME STAGE ...` becomes `dvc repro` of these stages of that candidate.
Whoever runs it holds the lock `lock`, so no other process runs stages of that candidate.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flows import dvc
from kinoflow.system import dvc_rwlock
from kinoflow.workspace import Workspace, run


def lock(workspace: Workspace, name: str) -> Path:
    """The lock that is held while a worker runs stages of a candidate."""
    return workspace.lock(f"candidate-{name}")


def command(name: str, stages: Sequence[str]) -> list[str]:
    """The command that runs stages of one candidate.

    Args:
        name: the candidate.
        stages: those stages, such as `train`.
    """
    # --single-item: without what comes before, which DVC would keep this candidate from looking at
    # while another one reads it
    return dvc.command("--single-item", *(f"{stage}@{name}" for stage in stages))


def main(workspace: Workspace) -> None:
    name, *stages = sys.argv[1:]
    become = command(name, stages)
    # DVC takes the locks of a process that was killed for those of a living one if there is a
    # process with that number on this machine. It may have been killed on another one.
    dvc_rwlock.mend(workspace.root)
    dvc_rwlock.forget(workspace.root, " ".join(become[become.index("repro") :]))
    os.execv(become[0], become)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    run(main)
