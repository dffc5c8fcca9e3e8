"""Run the flows on their schedules: `python -m flows.deployments` does so until Ctrl-C.

params.yaml says when. If Prefect's settings name no server, one is started for as long as this
runs. Its database is SQLite, or what PREFECT_SERVER_DATABASE_CONNECTION_URL names.
"""

import platform
import sys
from collections.abc import Sequence
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.settings import get_current_settings
from prefect.types.entrypoint import EntrypointType
from pydantic import ValidationError

from flows import alarms, server
from flows.monitor import monitor
from flows.promote import promote
from flows.retrain import retrain
from kinoflow import config
from kinoflow.system import locks
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run

DEPLOYMENT = "scheduled"


def deployments(params: config.Params, workspace: Workspace) -> list[RunnerDeployment]:
    """All that is run on a schedule, or by hand on a server.

    Raises UserError for a schedule that does not exist.
    """
    zone, here = params.retrain.timezone, place(workspace)
    return [
        _deployment(
            retrain,
            here,
            schedule(params.retrain.cron, zone, "retrain.cron"),
            triggers=[alarms.trigger()],
        ),
        _deployment(monitor, here, schedule(params.monitor.cron, zone, "monitor.cron")),
        _deployment(promote, here),  # retrain starts it, or a person
    ]


def place(workspace: Workspace) -> str:
    """The machine and folder that runs are for: the tag of deployments and of their runs."""
    return f"{platform.node()}:{workspace.root.absolute()}"


def schedule(cron: str, timezone: str, key: str) -> CronSchedule:
    """A schedule of params.yaml as an object of Prefect.

    Args:
        cron: when.
        timezone: `retrain.timezone`.
        key: the key of that cron, for errors.

    Raises UserError for a cron or a timezone that does not exist.
    """
    try:
        return CronSchedule(cron=cron, timezone=timezone)
    except ValidationError as error:
        first = error.errors()[0]
        wrong = key if first["loc"][0] == "cron" else f"retrain.{first['loc'][0]}"
        raise UserError(f"params.yaml: {wrong}: {first['ctx']['error']}") from None


def _deployment(
    flow: Flow[Any, Any],
    here: str,
    *times: CronSchedule,
    triggers: Sequence[DeploymentEventTrigger] = (),
) -> RunnerDeployment:
    deployment = flow.to_deployment(
        DEPLOYMENT,
        schedules=[*times],
        tags=[here],
        triggers=[*triggers],
        # not by its file: then flows/ would come first on the path of modules, and `import dvc`
        # in a run would find flows/dvc.py
        entrypoint_type=EntrypointType.MODULE_PATH,
        # not CANCEL_NEW: a worker that was killed counts as running for a while, and every run
        # planned for that time would be lost
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE
        ),
    )
    assert isinstance(deployment, RunnerDeployment)
    return deployment


def main(workspace: Workspace) -> None:
    deployments(config.load(workspace.params), workspace)  # mistakes are found at once
    port = get_current_settings().server.api.port
    with locks.held(workspace.lock("schedule"), "running the schedule"):
        sys.exit(server.run_beside("flows.runner", port))


if __name__ == "__main__":
    run(main)
