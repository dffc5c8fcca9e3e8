"""The retraining, against a real Prefect server and a real `dvc repro` of a miniature pipeline."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import pytest
from prefect import State
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    DeploymentFilter,
    DeploymentFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments.runner import RunnerDeployment

from flows import deployments
from flows import retrain as flow
from kinoflow.config import Retrain
from kinoflow.system import files
from kinoflow.system.errors import UserError
from tests.running import family, listening, read_until, survivors

pytest_plugins = ["tests.flows_fixtures"]

WAITS = "import time; print('training', flush=True); time.sleep(120)"


def retrain() -> State[Any]:
    return flow.retrain(return_state=True)


# === The flow ===


def test_success_streams_its_lines_and_publishes_artifacts(
    repo: Path, client: SyncPrefectClient
) -> None:
    page = repo / "reports" / "index.html"
    page.touch()
    (repo / "train.py").write_text(
        dedent("""
        import pathlib, sys, time
        print("epoch 1")
        deadline = time.monotonic() + 20
        while not pathlib.Path("heard").exists():
            if time.monotonic() > deadline:
                sys.exit("error: nobody heard of epoch 1 while epoch 2 was to come")
            time.sleep(0.05)
        print("epoch 2")
        pathlib.Path("trained_lrcn").touch()
        """)
    )

    def hear(message: str) -> None:
        if message == "epoch 1":
            (repo / "heard").touch()

    with listening("prefect.task_runs", hear):
        state = retrain()
    assert state.is_completed()

    run = state.state_details.flow_run_id
    assert run
    table = artifact(client, "retrain-candidates")
    assert table.flow_run_id == run
    rows = json.loads(table.data)
    assert [(row["candidate"], row["winner"]) for row in rows] == [
        ("lrcn", True),
        ("convlstm", False),
    ]
    assert rows[0]["latency_ms"] == 3.25
    about = artifact(client, "retrain-winner")
    assert about.flow_run_id == run
    reason = files.read_json(repo / "reports" / "winner.json")["reason"]
    assert about.data.startswith(f"# lrcn\n\n{reason}\n")
    assert "| parameters | 12,345 |" in about.data
    assert "| test accuracy | 0.900 (95% interval 0.900 to 0.900) |" in about.data
    assert (rows[0]["test_low"], rows[0]["test_high"]) == (0.9, 0.9)
    assert f"`{page}`" in about.data
    linked = artifact(client, "retrain-page")
    assert linked.flow_run_id == run
    assert f"[reports/index.html]({page.as_uri()})" in linked.data

    expected = [
        "download: nothing new",
        "Running stage 'prepare':",
        "Running stage 'train@lrcn':",
        "epoch 1",
        "epoch 2",
        reason,
    ]
    filter = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
    for _ in range(40):  # the last ones are on their way to the server
        messages = [log.message for log in client.read_logs(filter)]
        if reason in messages:
            break
        time.sleep(0.25)
    assert [message for message in messages if message in expected] == expected


def artifact(client: SyncPrefectClient, key: str) -> Any:
    filter = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    [artifact] = client.read_artifacts(artifact_filter=filter)
    return artifact


def test_download_gets_a_second_chance(
    repo: Path, prefect_server: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "refresh", flow.refresh.with_options(retry_delay_seconds=0))
    (repo / "stages" / "download.py").write_text(
        "import pathlib\n"
        "if not pathlib.Path('tried').exists():\n"
        "    pathlib.Path('tried').touch()\n"
        "    raise SystemExit('error: no network')\n"
    )
    assert retrain().is_completed()


def test_two_runs_take_turns(
    repo: Path, start: Callable[..., subprocess.Popen[str]], client: SyncPrefectClient
) -> None:
    (repo / "stages" / "download.py").write_text(
        "import time\n"
        "with open('turns', 'a') as turns: turns.write('begin ')\n"
        "print('downloading', flush=True)\n"
        "time.sleep(2)\n"
        "with open('turns', 'a') as turns: turns.write('end ')\n"
    )
    first = start("flows.retrain")
    read_until(first, "downloading")
    with listening("prefect.flow_runs") as messages:
        assert retrain().is_completed()
    assert first.wait(30) == 0
    assert (repo / "turns").read_text() == "begin end begin end "
    assert any("another retraining is running" in message for message in messages)


# === The commands ===


def test_failing_stage_fails_the_run_and_the_command_with_its_message(
    repo: Path, start: Callable[..., subprocess.Popen[str]], client: SyncPrefectClient
) -> None:
    (repo / "train.py").write_text("raise SystemExit('error: no rate: set one')")
    process = start("flows.retrain")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output.splitlines()[-1] == "error: train@lrcn: no rate: set one"
    assert "Traceback" not in output

    [run] = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
    assert run.state
    assert run.state.is_failed()
    assert run.state.message == "train@lrcn: no rate: set one"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_run_leaves_nothing_behind(
    repo: Path,
    start: Callable[..., subprocess.Popen[str]],
    client: SyncPrefectClient,
    number: signal.Signals,
) -> None:
    (repo / "train.py").write_text(WAITS)
    process = start("flows.retrain")
    read_until(process, "training")
    processes = family(process)
    assert any("train.py" in p.cmdline() for p in processes)
    process.send_signal(number)
    assert survivors(processes, 30) == []
    # nor does it keep others from running
    assert client.read_global_concurrency_limit_by_name(flow.LIMIT).active_slots == 0


def test_killed_run_leaves_nothing_behind_not_even_its_server(
    repo: Path, prefect_server: dict[str, str], start: Callable[..., subprocess.Popen[str]]
) -> None:
    (repo / "train.py").write_text(WAITS)
    process = start("flows.retrain", PREFECT_API_URL="", PREFECT_HOME=str(repo / "home"))
    read_until(process, "training")
    processes = family(process)
    commands = [" ".join(p.cmdline()) for p in processes]
    assert any("train.py" in command for command in commands)
    assert any("prefect server" in command for command in commands)
    [login] = (repo / "home").glob("login-*")
    drawn = login.read_text().strip()
    assert drawn != prefect_server["PREFECT_API_AUTH_STRING"]
    assert not any(drawn in command for command in commands)
    process.kill()
    assert survivors(processes, 30) == []


# === The schedule ===


def test_server_plans_runs(api: httpx.Client, client: SyncPrefectClient) -> None:
    times = deployments.schedule(Retrain(cron="30 4 * * *", timezone="Europe/Berlin"))
    planned = flow.retrain.to_deployment("planned", schedules=[times])
    assert isinstance(planned, RunnerDeployment)
    deployment = planned.apply()
    assert isinstance(deployment, UUID)
    # what the scheduler of a full server does by itself; with SQLAlchemy 2.1 it cannot
    answer = api.post(f"/deployments/{deployment}/schedule", json={"max_runs": 2})
    assert answer.is_success
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    )
    starts = [run.expected_start_time for run in runs if run.expected_start_time]
    berlin = ZoneInfo("Europe/Berlin")
    assert [f"{start.astimezone(berlin):%H:%M}" for start in starts] == ["04:30", "04:30"]


def test_served_schedule(
    repo: Path,
    start: Callable[..., subprocess.Popen[str]],
    client: SyncPrefectClient,
) -> None:
    process = start("flows.deployments")
    read_until(process, "being served")
    deployment = client.read_deployment_by_name("retrain/scheduled")
    [entry] = deployment.schedules
    assert entry.active
    assert entry.schedule == deployments.schedule(Retrain(cron="0 3 * * *", timezone="UTC"))
    # who may start it cannot choose another folder, or what else it runs
    schema = deployment.parameter_openapi_schema
    assert schema
    assert not schema["properties"]
    assert deployment.global_concurrency_limit
    assert deployment.global_concurrency_limit.limit == 1
    assert deployment.concurrency_options
    assert deployment.concurrency_options.collision_strategy == "ENQUEUE"

    client.create_flow_run_from_deployment(deployment.id)
    read_until(process, "download: nothing new")
    read_until(process, "Completed()")
    processes = family(process)
    process.send_signal(signal.SIGINT)
    assert survivors(processes, 30) == []
    assert not client.read_deployment(deployment.id).paused


def test_schedule_is_that_of_params() -> None:
    schedule = deployments.schedule(Retrain(cron="30 4 * * mon", timezone="Europe/Berlin"))
    assert (schedule.cron, schedule.timezone) == ("30 4 * * mon", "Europe/Berlin")


@pytest.mark.parametrize(
    ("cron", "timezone", "message"),
    [
        ("99 3 * * *", "UTC", "retrain.cron: Invalid cron string"),
        ("0 3 * * *", "Mars/Olympus", "retrain.timezone: Invalid timezone"),
    ],
)
def test_impossible_schedule_is_the_users_to_mend(cron: str, timezone: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        deployments.schedule(Retrain(cron=cron, timezone=timezone))
