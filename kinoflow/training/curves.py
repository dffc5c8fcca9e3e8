"""Learning curves as DVCLive writes them, for `dvc plots show`."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from kinoflow.training.history import Scores

if TYPE_CHECKING:
    from dvclive.live import Live


def open_curves(folder: Path) -> "Live":
    """DVCLive writing to `folder`, for a `with` statement; nothing but the curves.

    It makes no experiment, no page and no DVC files: the pipeline has its own.
    """
    from dvclive.live import Live
    from scmrepo.exceptions import SCMError

    class Curves(Live):
        def _init_dvc(self) -> None:
            # DVCLive is meant to work in a repository without a commit, but reads the latest
            # commit before it finds out that there is none
            with contextlib.suppress(SCMError):
                super()._init_dvc()

    return Curves(str(folder), save_dvc_exp=False, dvcyaml=None, report=None, monitor_system=False)


def draw(live: "Live", scores: Scores) -> None:
    """Append the scores of one epoch to the curves."""
    for name, value in scores.items():
        live.log_metric(name, value)
    live.next_step()
