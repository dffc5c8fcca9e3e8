"""An alarm of monitoring: people hear of it, and a retraining starts.

The alarm is an event of Prefect. An automation of the server waits for it and starts the deployment
`retrain/scheduled`. An automation of a server of one's own can fail in silence. So the alarm looks
whether a run has come, and starts one itself if not.

Runs that alarms started are told from others by who created them, and that is how the next alarm
knows when the last retraining was started. The server has to keep its runs anyway, so nothing else
has to be kept, and it holds on every machine that talks to this server.
"""

import time
from datetime import UTC, timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.events import DeploymentEventTrigger, emit_event
from prefect.exceptions import ObjectNotFound
from prefect.types import DateTime

from flows.notifying import logger, notify
from kinoflow.config import Params
from kinoflow.system import locks
from kinoflow.workspace import Workspace

Kind = Literal["drift", "feedback"]

EVENT = "kinoflow.alarm"
DEPLOYMENT = "retrain/scheduled"
AUTOMATION = "kinoflow: retrain after an alarm"

_SUBJECTS: dict[Kind, str] = {
    "drift": "kinoflow: what the service sees has changed",
    "feedback": "kinoflow: too many answers are marked as wrong",
}
_RESOURCE = {"prefect.resource.id": EVENT}
_TO_RETRAIN = {**_RESOURCE, "kinoflow.retrain": "yes"}  # of an alarm that is to start a run
_TAG = "alarm"  # of a run that the alarm started itself
_FIRES_WITHIN = 20.0  # seconds; an automation that works takes one
_UNDER_WAY = 3.0  # seconds for a run that the automation was starting while it was switched off
_MOST_TEXT = 2000  # characters of an event; what an alarm says may name any label


class _Start(NamedTuple):
    started: bool
    outcome: str


def trigger() -> DeploymentEventTrigger:
    """What makes the server start the deployment that has it when an alarm is raised.

    Prefect makes an automation of it whenever the deployment is made anew, instead of the one
    before, and switched on.
    """
    return DeploymentEventTrigger(
        name=AUTOMATION,
        description="Starts a retraining when monitoring finds drift or too many wrong answers",
        match={**_TO_RETRAIN},
        expect={EVENT},
    )


def raise_alarm(kind: Kind, sentence: str, settings: Params) -> bool:
    """Emit the event `kinoflow.alarm`, start a retraining, and notify.

    No retraining starts if an alarm started one within `monitor.cooldown_hours`, or if
    `monitor.retrain` is false. If none can be started, that is said in the log and in the
    notification, and the run that raised the alarm goes on.

    Args:
        kind: what has changed.
        sentence: what was found, for people.
        settings: all settings.

    Returns whether a retraining was started.
    """
    try:
        # two that monitor at the same time would both see that no run was started yet
        with locks.held(Workspace().lock("alarm"), "raising an alarm"):
            started, outcome = _start(kind, sentence, settings)
    except Exception as error:  # noqa: BLE001
        # people have to hear of the alarm above all when the server fails
        started, outcome = False, f"No retraining could be started: {type(error).__name__}: {error}"
    text = f"{sentence}\n{outcome}"
    logger().warning(text)
    notify("drift", _SUBJECTS[kind], text, settings.notify)
    return started


def _start(kind: Kind, sentence: str, settings: Params) -> _Start:
    payload = {"kind": kind, "sentence": sentence[:_MOST_TEXT]}
    if not settings.monitor.retrain:
        emit_event(EVENT, _RESOURCE, payload=payload)
        return _Start(False, "No retraining was started, since monitor.retrain is false.")
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(DEPLOYMENT).id
        except ObjectNotFound:
            emit_event(EVENT, _RESOURCE, payload=payload)
            return _Start(
                False,
                f"No retraining was started, since the server has no deployment {DEPLOYMENT}: "
                "`make schedule` makes it, `make retrain` retrains once.",
            )
        hours = settings.monitor.cooldown_hours
        if earlier := _started_by_alarms(client, deployment, hours):
            emit_event(EVENT, _RESOURCE, payload=payload)
            return _Start(
                False,
                f"No retraining was started, since an alarm started {earlier[0].name} at "
                f"{_when(earlier[0])}, less than monitor.cooldown_hours ({hours:g}) ago.",
            )
        before = {run.id for run in _started_by_alarms(client, deployment, hours=1)}
        automations = client.read_automations_by_name(AUTOMATION)
        if any(automation.enabled for automation in automations):
            emit_event(EVENT, _TO_RETRAIN, payload=payload)
            if run := _fired(client, deployment, before, _FIRES_WITHIN):
                return _Start(True, f"The retraining {run.name} was started.")
            # so that it cannot start a second run, should it only be slow
            for automation in automations:
                client.pause_automation(automation.id)
            if run := _fired(client, deployment, before, _UNDER_WAY):
                return _Start(True, f"The retraining {run.name} was started.")
            logger().warning(
                "the automation %r of the Prefect server did not start a run. It is switched off "
                "until `make schedule` is started again; alarms start runs without it.",
                AUTOMATION,
            )
        else:
            emit_event(EVENT, _RESOURCE, payload=payload)
        # not as a part of this run, with which it would be cancelled
        direct = run_deployment(DEPLOYMENT, timeout=0, tags=[_TAG], as_subflow=False)
        assert isinstance(direct, FlowRun)
        return _Start(True, f"The retraining {direct.name} was started.")


def _fired(
    client: SyncPrefectClient, deployment: UUID, before: set[UUID], seconds: float
) -> FlowRun | None:
    """The run that the automation starts within so many seconds, and that was not there before."""
    deadline = time.monotonic() + seconds
    while True:
        for run in _started_by_alarms(client, deployment, hours=1):
            if run.id not in before:
                return run
        if time.monotonic() > deadline:
            return None
        time.sleep(0.5)


def _started_by_alarms(client: SyncPrefectClient, deployment: UUID, hours: float) -> list[FlowRun]:
    """The runs of a deployment that alarms started in the last hours, the newest first."""
    now = DateTime.now(UTC)
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        flow_run_filter=FlowRunFilter(
            expected_start_time=FlowRunFilterExpectedStartTime(
                after_=now - timedelta(hours=hours),
                # without those that the schedule has planned
                before_=now + timedelta(minutes=1),
            )
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
    )
    return [run for run in runs if _TAG in run.tags or _is_by_automation(run)]


def _is_by_automation(run: FlowRun) -> bool:
    by = run.created_by
    return by is not None and by.type == "AUTOMATION" and by.display_value == AUTOMATION


def _when(run: FlowRun) -> str:
    return f"{run.expected_start_time:%Y-%m-%d %H:%M} UTC"
