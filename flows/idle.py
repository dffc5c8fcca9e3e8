"""Whether a retraining would find nothing to do, found out without Prefect.

A run by hand brings a server of its own, which takes longer to start than DVC takes to see that all
is up to date.
"""

import contextlib
import sys
import time

from flows import dvc
from flows.promotion import Office
from flows.reproduce import sweep
from kinoflow import config
from kinoflow.system import locks
from kinoflow.system.errors import UserError
from kinoflow.system.supervisor import wait
from kinoflow.workspace import Workspace

_QUESTIONS = (
    ("-m", "stages.download", "--check"),
    ("-m", "dvc", "status", "--quiet", "dvc.yaml"),
)


def is_idle(workspace: Workspace) -> bool:
    """Whether the data, the pipeline and the champion are up to date.

    What killed runs left is deleted, as a retraining does; nothing else changes. False as well if
    that cannot be found out, or if another run is at it: the retraining that follows says so.
    """
    if any(locks.is_held(workspace.lock(name)) for name in ("retrain", "data")):
        return False
    try:
        params = config.load(workspace.params)
        if workspace.bento.exists() and not Office(workspace, params, print).is_up_to_date():
            return False
    except (OSError, UserError):
        return False
    with locks.held(workspace.lock("data"), "looking for changes"):
        sweep(workspace)
    with contextlib.ExitStack() as processes:
        # at the same time, since each takes a second to start
        asked = [
            processes.enter_context(dvc.started([sys.executable, *question], workspace, piped=True))
            for question in _QUESTIONS
        ]
        return not any(wait(process) for process in asked)


def nothing_new(workspace: Workspace) -> str:
    """Says that nothing is new, and since when."""
    made = (workspace.root / "dvc.lock").stat().st_mtime
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(made))
    return f"nothing new since {since}: no data, code or setting has changed"
