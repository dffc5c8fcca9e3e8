"""Retrain on a schedule: `python -m flows.deployments` does so until Ctrl-C.

params.yaml says when. If Prefect's settings name no server, one is started for as long as this
runs.
"""

import sys

from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import get_current_settings
from pydantic import ValidationError

from flows import server
from flows.retrain import retrain
from kinoflow import config
from kinoflow.config import Retrain
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run

DEPLOYMENT = "scheduled"


def schedule(section: Retrain) -> CronSchedule:
    """The schedule in the section `retrain` of params.yaml, as an object of Prefect.

    Raises UserError for a cron or a timezone that does not exist.
    """
    try:
        return CronSchedule(cron=section.cron, timezone=section.timezone)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"params.yaml: retrain.{first['loc'][0]}: {first['ctx']['error']}"
        ) from None


def main(workspace: Workspace) -> None:
    times = schedule(config.load(workspace.params).retrain)
    if not server.is_known():
        port = get_current_settings().server.api.port
        sys.exit(server.run_beside("flows.deployments", port))
    retrain.serve(
        name=DEPLOYMENT,
        schedules=[times],
        limit=1,
        # not CANCEL_NEW: a worker that was killed counts as running for a while, and every run
        # planned for that time would be lost
        global_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE
        ),
        pause_on_shutdown=False,
    )


if __name__ == "__main__":
    run(main)
