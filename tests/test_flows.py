"""The retraining, against a real Prefect server and a real `dvc repro` of a miniature pipeline."""

import json
import re
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
import prefect
import psutil  # type: ignore[import-untyped]
import pytest
from prefect import State
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments.runner import RunnerDeployment

from flows import deployments, stage_runs
from flows import retrain as flow
from kinoflow.system import files, locks
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from tests.running import PATIENCE, family, listening, read_until, survivors

pytest_plugins = ["tests.flows_fixtures"]

TRAINS = "open('trained_lrcn', 'w').close()"
SIDE_BY_SIDE = """
Running stage 'validate':
lrcn | this line of a stage that runs alone only looks like one of a candidate
lrcn | Running stage 'train@lrcn':
c3d  | Stage 'train@c3d' didn't change, skipping
c3d  | Running stage 'evaluate@c3d':
lrcn | epoch 1
c3d  | done
lrcn | epoch 2
lrcn | Running stage 'evaluate@lrcn':
lrcn | done
Stage 'train@lrcn' didn't change, skipping
Stage 'evaluate@c3d' didn't change, skipping
Running stage 'select':
"""
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
    table = artifact(client, "retrain-candidates", run)
    rows = json.loads(table.data)
    assert [(row["candidate"], row["winner"]) for row in rows] == [
        ("lrcn", True),
        ("convlstm", False),
    ]
    assert rows[0]["latency_ms"] == 3.25
    about = artifact(client, "retrain-winner", run)
    reason = files.read_json(repo / "reports" / "winner.json")["reason"]
    assert about.data.startswith(f"# lrcn\n\n{reason}\n")
    assert "| parameters | 12,345 |" in about.data
    assert "| test accuracy | 0.900 (95% interval 0.900 to 0.900) |" in about.data
    assert (rows[0]["test_low"], rows[0]["test_high"]) == (0.9, 0.9)
    assert f"`{page}`" in about.data
    linked = artifact(client, "retrain-page", run)
    assert f"[reports/index.html]({page.as_uri()})" in linked.data
    assert artifact(client, "retrain-data", run).data == "download: nothing new"
    stages = json.loads(artifact(client, "retrain-stages", run).data)
    assert [(row["stage"], row["outcome"]) for row in stages] == [
        ("prepare", "ran"),
        ("train@lrcn", "ran"),
    ]
    progress = artifact(client, "retrain-progress", run)
    assert progress.data == 100
    assert progress.description == "2 of 2 stages; all are up to date"

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


def artifact(client: SyncPrefectClient, key: str, run: UUID) -> Any:
    """The artifact of that key which a flow run published; None if it did not."""
    found = client.read_artifacts(
        artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])),
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])),
    )
    assert len(found) <= 1
    return found[0] if found else None


def task_runs(client: SyncPrefectClient, run: UUID) -> dict[str, State[Any]]:
    """The states of all task runs of a flow run, once the server knows of all their ends."""
    deadline = time.monotonic() + PATIENCE
    while True:
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
        states = {task.name: task.state for task in tasks if task.state}
        if states and all(state.is_final() for state in states.values()):
            return states
        assert time.monotonic() < deadline, states
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("code", "tries"), [pytest.param(75, 2, id="no network"), pytest.param(2, 1, id="no such file")]
)
def test_what_may_pass_by_itself_is_tried_again_and_nothing_else(
    repo: Path,
    prefect_server: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    tries: int,
) -> None:
    monkeypatch.setattr(flow, "download", flow.download.with_options(retry_delay_seconds=0))
    (repo / "stages" / "download.py").write_text(
        "import pathlib\n"
        "with open('tries', 'a') as tries: tries.write('x')\n"
        "print('error: no videos')\n"
        f"if len(pathlib.Path('tries').read_text()) == 1: raise SystemExit({code})\n"
    )
    state = retrain()
    assert (repo / "tries").read_text() == "x" * tries
    if tries > 1:
        assert state.is_completed()
    else:
        assert state.is_failed()
        assert state.message == "download: no videos"


def test_a_stage_that_takes_too_long_is_ended_and_named(
    repo: Path, prefect_server: dict[str, str]
) -> None:
    set_limit(repo, 2)
    begun: list[psutil.Process] = []
    (repo / "train.py").write_text(WAITS)

    def hear(message: str) -> None:
        if message == "training":
            children = psutil.Process().children(recursive=True)
            begun.extend(child for child in children if "train.py" in child.cmdline())

    with listening("prefect.task_runs", hear):
        state = retrain()
    assert state.is_failed()
    assert state.message == (
        "train@lrcn: took longer than the 2 s that retrain.stage_timeout_s in params.yaml gives a "
        "stage, and was ended"
    )
    assert begun
    assert survivors(begun, 1) == []


def set_limit(repo: Path, seconds: float) -> None:
    path = Workspace(repo).params
    limit = re.compile(r"(stage_timeout_s: )\d+")
    path.write_text(limit.sub(rf"\g<1>{seconds}", path.read_text()))


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
    assert any("waiting for another run that is retraining" in message for message in messages)


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


def test_nothing_new_means_nothing_done(
    repo: Path, client: SyncPrefectClient, prefect_server: dict[str, str]
) -> None:
    assert retrain().is_completed()
    made = time.localtime((repo / "dvc.lock").stat().st_mtime)
    state = retrain()
    assert state.is_completed()
    assert state.message == (
        f"nothing new since {time.strftime('%Y-%m-%d %H:%M', made)}: "
        "no data, code or setting has changed"
    )
    run = state.state_details.flow_run_id
    assert run
    assert artifact(client, "retrain-data", run)
    assert not artifact(client, "retrain-winner", run)
    assert {*task_runs(client, run)} == {"download"}


def test_the_server_shows_which_stages_ran_and_which_did_not(
    repo: Path, client: SyncPrefectClient
) -> None:
    retrain()
    (repo / "train.py").write_text("print('a <b>new</b> epoch'); " + TRAINS)
    state = retrain()
    run = state.state_details.flow_run_id
    assert run
    states = {name: state.name for name, state in task_runs(client, run).items()}
    assert states["prepare"] == "Cached"
    assert states["train@lrcn"] == "Completed"
    # what was made before is taken from DVC's cache
    (repo / "train.py").write_text(TRAINS)
    state = retrain()
    assert state.state_details.flow_run_id
    again = task_runs(client, state.state_details.flow_run_id)
    assert again["train@lrcn"].name == "Cached"
    assert again["train@lrcn"].message == "what it makes was in DVC's cache"
    assert artifact(client, "retrain-stages", state.state_details.flow_run_id).data == json.dumps(
        [
            {"stage": "prepare", "outcome": "unchanged", "seconds": 0.0},
            {"stage": "train@lrcn", "outcome": "restored", "seconds": 0.0},
        ]
    )
    # a stage that fails says so in its own task run
    (repo / "train.py").write_text("raise SystemExit('error: no rate: set one')")
    state = retrain()
    assert state.state_details.flow_run_id
    failed = task_runs(client, state.state_details.flow_run_id)["train@lrcn"]
    assert failed.is_failed()
    assert failed.message == state.message == "train@lrcn: no rate: set one"


def test_stages_of_candidates_side_by_side_are_told_apart(client: SyncPrefectClient) -> None:
    names = {f"{stage}@{name}" for stage in ("train", "evaluate") for name in ("lrcn", "c3d")}
    ended: list[stage_runs.Ended] = []
    stages = stage_runs.Stages(frozenset({"validate", "select", *names}), 60, ended.append)

    @prefect.flow
    def side_by_side() -> None:
        with stage_runs.shown(stages):
            for line in SIDE_BY_SIDE.strip().splitlines():
                stages.hear(line)

    state = side_by_side(return_state=True)
    assert [(each.name, each.outcome) for each in ended] == [
        ("validate", "ran"),
        ("train@c3d", "unchanged"),
        ("evaluate@c3d", "ran"),
        ("train@lrcn", "ran"),
        ("evaluate@lrcn", "ran"),
        ("select", "ran"),
    ]
    run = state.state_details.flow_run_id
    assert run
    shown = {name: state.name for name, state in task_runs(client, run).items()}
    assert shown == dict.fromkeys({"validate", "select", *names}, "Completed") | {
        "train@c3d": "Cached"
    }
    tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
    [training] = [task.id for task in tasks if task.name == "train@lrcn"]
    deadline = time.monotonic() + PATIENCE
    logs = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
    while time.monotonic() < deadline:  # the last ones are on their way to the server
        lines = [log.message for log in client.read_logs(logs) if log.task_run_id == training]
        if "epoch 2" in lines:
            break
        time.sleep(0.2)
    assert lines[:3] == ["Running stage 'train@lrcn':", "epoch 1", "epoch 2"]


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
    assert not locks.is_held(Workspace(repo).lock("retrain"))


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
    drawn = (repo / "home" / "login").read_text().strip()
    assert drawn != prefect_server["PREFECT_API_AUTH_STRING"]
    assert not any(drawn in command for command in commands)
    process.kill()
    assert survivors(processes, 30) == []


# === The schedule ===


def test_server_plans_runs(api: httpx.Client, client: SyncPrefectClient) -> None:
    times = deployments.schedule("30 4 * * *", "Europe/Berlin", "retrain.cron")
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
    assert entry.schedule == deployments.schedule("0 3 * * *", "UTC", "retrain.cron")
    # who may start it cannot choose another folder, or what else it runs
    schema = deployment.parameter_openapi_schema
    assert schema
    assert not schema["properties"]
    assert deployment.global_concurrency_limit
    assert deployment.global_concurrency_limit.limit == 1
    assert deployment.concurrency_options
    assert deployment.concurrency_options.collision_strategy == "ENQUEUE"

    run = client.create_flow_run_from_deployment(deployment.id)
    read_until(process, "download: nothing new")
    # not the first "Completed()" in the output, which is that of a stage
    deadline = time.monotonic() + PATIENCE
    while not (state := client.read_flow_run(run.id).state) or not state.is_completed():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    processes = family(process)
    process.send_signal(signal.SIGINT)
    assert survivors(processes, 30) == []
    assert not client.read_deployment(deployment.id).paused


def test_cancelling_ends_the_training_within_ten_seconds(
    repo: Path,
    start: Callable[..., subprocess.Popen[str]],
    client: SyncPrefectClient,
    api: httpx.Client,
) -> None:
    # a training that takes its time to end, and a child of it
    (repo / "train.py").write_text(
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.run([sys.executable, '-c', 'import signal, time; "
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        'print("training", flush=True); time.sleep(120)\'])\n'
    )
    worker = start("flows.deployments")
    read_until(worker, "being served")
    deployment = client.read_deployment_by_name("retrain/scheduled")
    run = client.create_flow_run_from_deployment(deployment.id)
    read_until(worker, "training")
    [training] = [process for process in family(worker) if "train.py" in process.cmdline()]
    above = training.parents()
    runner = next(each for each in above if "flows.runner" in each.cmdline())
    flow_process = above[above.index(runner) - 1]
    processes = [flow_process, *flow_process.children(recursive=True)]
    trainings = [training, *training.children()]
    assert len(trainings) == 2
    answer = api.post(f"/flow_runs/{run.id}/set_state", json={"state": {"type": "CANCELLING"}})
    assert answer.json()["status"] == "ACCEPT"
    assert survivors(trainings, 10) == []
    assert survivors(processes, 20) == []
    deadline = time.monotonic() + 30
    while not (state := client.read_flow_run(run.id).state) or not state.is_cancelled():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert task_runs(client, run.id)["train@lrcn"].is_cancelled()


def test_schedule_is_that_of_params() -> None:
    schedule = deployments.schedule("30 4 * * mon", "Europe/Berlin", "retrain.cron")
    assert (schedule.cron, schedule.timezone) == ("30 4 * * mon", "Europe/Berlin")


@pytest.mark.parametrize(
    ("cron", "timezone", "message"),
    [
        ("99 3 * * *", "UTC", "monitor.cron: Invalid cron string"),
        ("0 3 * * *", "Mars/Olympus", "retrain.timezone: Invalid timezone"),
    ],
)
def test_impossible_schedule_is_the_users_to_mend(cron: str, timezone: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        deployments.schedule(cron, timezone, "monitor.cron")
