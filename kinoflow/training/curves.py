"""Learning curves as DVCLive writes them, for `dvc plots show`."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from kinoflow.training.history import Scores

if TYPE_CHECKING:
    from dvclive.live import Live


def open_curves(folder: Path | None) -> "contextlib.AbstractContextManager[Live | None]":
    """DVCLive that writes to `folder`, for a `with` statement; nothing if there is no folder.

    It writes only the curves: no experiment, no page and no DVC files, which the pipeline has.
    """
    if folder is None:
        return contextlib.nullcontext()
    from dvclive.live import Live
    from scmrepo.exceptions import SCMError

    class Curves(Live):
        def _init_dvc(self) -> None:
            # In a repository without a commit, DVCLive fails: it reads the latest commit before it
            # checks whether there is one.
            with contextlib.suppress(SCMError):
                super()._init_dvc()

    live = Curves(str(folder), save_dvc_exp=False, dvcyaml=None, report=None, monitor_system=False)
    live.step = 1  # a step is an epoch, and those count from 1
    return live


def draw(live: "Live | None", scores: Scores) -> None:
    """Append the scores of one epoch to the curves, if any are drawn."""
    if live is None:
        return
    for name, value in scores.items():
        live.log_metric(name, value)
    live.next_step()
