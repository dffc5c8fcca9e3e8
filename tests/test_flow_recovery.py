"""What a kill or a stop left behind on the server is put right at the next start."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments.runner import RunnerDeployment
from prefect.states import Crashed, Running, Suspended

from flows import deployments
from flows.recovery import MADE_UP, recover
from flows.retrain import retrain
from tests.running import PATIENCE

pytest_plugins = ["tests.flows_fixtures"]

TAG = "machine:/folder"


@pytest.fixture
def planned(client: SyncPrefectClient) -> Iterator[UUID]:
    """A deployment with a schedule that nobody serves."""
    times = deployments.schedule("0 3 * * *", "UTC", "retrain.cron")
    made = retrain.to_deployment("unserved", schedules=[times], tags=[TAG])
    assert isinstance(made, RunnerDeployment)
    number = made.apply()
    assert isinstance(number, UUID)
    yield number
    client.delete_deployment(number)


def runs(client: SyncPrefectClient, deployment: UUID) -> list[FlowRun]:
    """The runs of a deployment that are not to come, by the time for which they were planned."""
    found = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    )
    present = datetime.now(UTC)
    past = [run for run in found if run.expected_start_time and run.expected_start_time <= present]
    return sorted(past, key=lambda run: run.expected_start_time or present)


def put_right(client: SyncPrefectClient, deployment: UUID) -> list[str]:
    return [*recover(client, "unserved", TAG)]


def test_a_run_that_was_cut_short_crashes_and_is_made_up_for_once(
    client: SyncPrefectClient, planned: UUID
) -> None:
    running: State[None] = Running()
    first = client.create_flow_run_from_deployment(planned)
    client.set_flow_run_state(first.id, running, force=True)
    assert [*recover(client, "unserved", "machine:/another")] == []
    lines = put_right(client, planned)
    assert lines[0] == f"the run {first.name} was cut short: it counts as crashed"
    before, again = runs(client, planned)
    assert (before.id, before.state_name) == (first.id, "Crashed")
    assert lines[1:] == [f"the run {again.name} makes up for {first.name}, which was cut short"]
    assert again.state_name == "Scheduled"
    assert MADE_UP in again.tags
    # nor twice, if it has not begun
    assert put_right(client, planned) == []

    client.set_flow_run_state(again.id, running, force=True)
    assert put_right(client, planned) == [
        f"the run {again.name} was cut short: it counts as crashed"
    ]
    assert [run.state_name for run in runs(client, planned)] == ["Crashed", "Crashed"]


def test_a_run_that_waits_for_a_person_goes_on_waiting(
    client: SyncPrefectClient, planned: UUID
) -> None:
    suspended: State[None] = Suspended(timeout_seconds=600)
    waiting = client.create_flow_run_from_deployment(planned)
    client.set_flow_run_state(waiting.id, suspended, force=True)
    assert put_right(client, planned) == []
    assert client.read_flow_run(waiting.id).state_name == "Suspended"


def test_of_the_runs_that_were_due_the_last_one_is_left_and_makes_up_for_all(
    client: SyncPrefectClient, api: httpx.Client, planned: UUID
) -> None:
    crashed: State[None] = Crashed()
    first = client.create_flow_run_from_deployment(planned)
    client.set_flow_run_state(first.id, crashed, force=True)
    now = datetime.now(UTC)
    times = {"start_time": str(now - timedelta(days=4)), "end_time": str(now)}
    for _ in range(PATIENCE):
        answer = api.post(f"/deployments/{planned}/schedule", json=times | {"min_runs": 4})
        if answer.status_code != 503:  # what the server says while its database is busy
            break
        time.sleep(1)
    assert answer.is_success
    due = [run for run in runs(client, planned) if run.auto_scheduled]
    assert len(due) == 4
    lines = put_right(client, planned)
    assert len(lines) == 3
    assert all("a later one was due" in line for line in lines)
    assert [run.id for run in runs(client, planned) if run.auto_scheduled] == [due[-1].id]
    assert put_right(client, planned) == []
