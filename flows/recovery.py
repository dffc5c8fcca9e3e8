"""What a power cut, a kill or a stop left behind on the Prefect server is put right.

Prefect itself lets runs whose process was killed count as running for ever, and makes up every
run that was due while nothing was there to run it.
"""

from collections.abc import Iterator

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterName,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Crashed
from prefect.types._datetime import now

MADE_UP = "made-up"  # the tag of runs that make up for one that was cut short

_OPEN = (StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING)
_BEGUN = (*_OPEN, StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)


def recover(client: SyncPrefectClient, deployment: str, tag: str) -> Iterator[str]:
    """Put the runs of all deployments right, and yield a line on each change.

    - Runs that count as running, but whose process is gone, become Crashed.
    - Of the runs that were due meanwhile, the last one is left to be run. The others are deleted.
    - If none is left, and the last run was cut short, it is run again. This happens once: if that
      run is cut short as well, it may be what stops the machine.

    Args:
        client: of the server.
        deployment: the name of the deployments.
        tag: theirs. Nothing else may run deployments with this name and tag.
    """
    mine = DeploymentFilter(
        name=DeploymentFilterName(any_=[deployment]), tags=DeploymentFilterTags(all_=[tag])
    )
    for each in client.read_deployments(deployment_filter=mine):
        yield from _recover(client, each)


def _recover(client: SyncPrefectClient, deployment: DeploymentResponse) -> Iterator[str]:
    for run in _runs(client, deployment, _OPEN):
        assert run.state is not None
        if run.state.state_details.pause_reschedule:
            continue  # it is suspended: it needs no process
        crashed: State[None] = Crashed(message="It was killed, or the machine that it ran on.")
        client.set_flow_run_state(run.id, crashed, force=True)
        yield f"the run {run.name} was cut short: it counts as crashed"
    present = now("UTC")
    due = [
        (time, run)
        for run in _runs(client, deployment, (StateType.SCHEDULED,))
        if (time := run.next_scheduled_start_time or run.expected_start_time) and time <= present
    ]
    planned = sorted((time, run.name, run.id) for time, run in due if run.auto_scheduled)
    for time, name, number in planned[:-1]:
        client.delete_flow_run(number)
        yield f"the run {name}, due on {time:%d %B at %H:%M} UTC, is left out: a later one was due"
    last = next(iter(_runs(client, deployment, _BEGUN, limit=1)), None)
    cut_short = last and last.state and last.state.is_crashed() and MADE_UP not in last.tags
    if last and cut_short and not due:
        made_up = client.create_flow_run_from_deployment(
            deployment.id, tags=[*deployment.tags, MADE_UP]
        )
        yield f"the run {made_up.name} makes up for {last.name}, which was cut short"


def _runs(
    client: SyncPrefectClient,
    deployment: DeploymentResponse,
    states: tuple[StateType, ...],
    limit: int | None = None,
) -> list[FlowRun]:
    """The runs of a deployment that are in one of these states, the last one first."""
    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[*states]))
        ),
        sort=FlowRunSort.START_TIME_DESC,
        limit=limit,
    )
