"""Alarms of monitoring, against a real Prefect server with its automations."""

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound

from flows import alarms
from flows.retrain import retrain
from kinoflow import config
from kinoflow.config import Monitor, Notify, Params
from tests.conftest import ROOT

pytest_plugins = ["tests.flows_fixtures"]

SENTENCE = 'Brightness fell by 40%. "<b>Fall</b>" is answered twice as often.'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def deploy() -> UUID:
    planned = retrain.to_deployment("scheduled", triggers=[alarms.trigger()])
    assert isinstance(planned, RunnerDeployment)
    made = planned.apply()
    assert isinstance(made, UUID)
    return made


@pytest.fixture
def deployment(client: SyncPrefectClient, folder: None) -> Iterator[UUID]:
    """What `make schedule` makes; nothing runs what is started. Gone after the test."""
    remove(client)  # that of an earlier test file, with its runs
    made = deploy()
    yield made
    remove(client)


def remove(client: SyncPrefectClient) -> None:
    """Remove the deployment and its automation, which the server keeps without it."""
    with contextlib.suppress(ObjectNotFound):
        client.delete_deployment(client.read_deployment_by_name("retrain/scheduled").id)
    for automation in client.read_automations_by_name(alarms.AUTOMATION):
        client.delete_automation(automation.id)


def params(cooldown_hours: float = 24, retrain: bool = True) -> Params:
    """The settings of the repository, with a block that hears of alarms."""
    return config.load(ROOT / "params.yaml").model_copy(
        update={
            "monitor": Monitor(cooldown_hours=cooldown_hours, retrain=retrain),
            "notify": Notify(blocks=("custom-webhook/alarms",)),
        }
    )


def runs(client: SyncPrefectClient, deployment: UUID) -> list[FlowRun]:
    filter = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    return client.read_flow_runs(deployment_filter=filter)


@pytest.fixture
def heard(prefect_server: dict[str, str]) -> Iterator[list[str]]:
    """The texts that a webhook is sent."""
    texts = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            texts.append(json.loads(body)["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        CustomWebhookNotificationBlock.model_validate(
            {
                "name": "alarms",
                "url": f"http://127.0.0.1:{server.server_port}",
                "json_data": {"text": "{{body}}"},
            }
        ).save("alarms", overwrite=True)
        yield texts
        server.shutdown()


def test_the_event_starts_one_run_and_the_next_alarms_none(
    client: SyncPrefectClient, deployment: UUID, heard: list[str]
) -> None:
    deploy()  # as at every start of `make schedule`
    assert len(client.read_automations_by_name(alarms.AUTOMATION)) == 1

    @flow
    def monitor() -> bool:
        return alarms.raise_alarm("drift", SENTENCE, params())

    assert monitor()
    [run] = runs(client, deployment)
    assert run.created_by
    assert run.created_by.type == "AUTOMATION"
    assert run.parameters == {}
    assert heard == [f"{SENTENCE}\nThe retraining {run.name} was started."]

    assert not alarms.raise_alarm("feedback", SENTENCE, params())
    assert "less than monitor.cooldown_hours (24) ago" in heard[-1]
    assert not alarms.raise_alarm("drift", SENTENCE, params(0, False))
    assert len(runs(client, deployment)) == 1
    # nothing on this machine has to remember; the server does
    assert alarms.raise_alarm("drift", SENTENCE, params(0))
    assert len(runs(client, deployment)) == 2


def test_alarm_starts_the_run_itself_if_the_automation_does_not(
    client: SyncPrefectClient,
    deployment: UUID,
    heard: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alarms, "_FIRES_WITHIN", 2.0)
    monkeypatch.setattr(alarms, "_UNDER_WAY", 1.0)
    # it looks as if it worked, but no event reaches it
    monkeypatch.setattr(alarms, "EVENT", "another.event")
    deploy()
    monkeypatch.setattr(alarms, "EVENT", "kinoflow.alarm")
    assert alarms.raise_alarm("drift", SENTENCE, params())
    [run] = runs(client, deployment)
    assert run.name in heard[0]
    assert not run.created_by or run.created_by.type != "AUTOMATION"

    # even if it hears again, it starts no second run
    [automation] = client.read_automations_by_name(alarms.AUTOMATION)
    assert not automation.enabled
    assert not alarms.raise_alarm("drift", SENTENCE, params())
    assert len(runs(client, deployment)) == 1


def test_alarms_at_the_same_time_start_one_run(
    client: SyncPrefectClient, deployment: UUID, heard: list[str]
) -> None:
    [automation] = client.read_automations_by_name(alarms.AUTOMATION)
    client.pause_automation(automation.id)
    with ThreadPoolExecutor(3) as pool:
        raised = [
            # with the settings that name the server
            pool.submit(copy_context().run, alarms.raise_alarm, "drift", SENTENCE, params())
            for _ in range(3)
        ]
    assert sorted(future.result() for future in raised) == [False, False, True]
    assert len(runs(client, deployment)) == 1


def test_without_a_deployment_people_hear_of_it_all_the_same(
    folder: None, client: SyncPrefectClient, heard: list[str]
) -> None:
    assert not alarms.raise_alarm("feedback", SENTENCE, params())
    assert heard[0].startswith(f"{SENTENCE}\nNo retraining was started")
    assert "make schedule" in heard[0]
