"""The flows against a real Prefect server and a real `dvc repro` of a miniature pipeline."""

import contextlib
import functools
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from prefect import State, get_client
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
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    get_current_settings,
    temporary_settings,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from flows import deployments
from flows import retrain as flow
from flows import server as servers
from kinoflow.config import Retrain
from kinoflow.system import files

pytest_plugins = ["tests.flows_fixtures"]


# a port that nothing listens at
DEAD_PROXY = "http://127.0.0.1:9"
WAITS = "import time; print('training', flush=True); time.sleep(120)"


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Let what a test starts heed SIGINT, which a shell makes its background jobs ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What lets a client reach a Prefect server with an empty database, past a dead proxy."""
    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.setenv(name, DEAD_PROXY)
        patch.setenv("PREFECT_HOME", str(home))
        with temporary_settings({PREFECT_HOME: home}), servers.running() as access:
            settings = {
                PREFECT_API_URL: access["PREFECT_API_URL"],
                PREFECT_API_AUTH_STRING: access["PREFECT_API_AUTH_STRING"],
            }
            with temporary_settings(settings):
                yield access
    assert not [*home.glob("login-*")]


@pytest.fixture
def client(server: dict[str, str]) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def api(server: dict[str, str]) -> Iterator[httpx.Client]:
    """A browser, as it were, whose user has logged in."""
    user, _, password = server["PREFECT_API_AUTH_STRING"].partition(":")
    with httpx.Client(base_url=server["PREFECT_API_URL"], auth=(user, password)) as client:
        yield client


@pytest.fixture
def start(repo: Path, server: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `python -m <module>` in the repository; whatever is left of it ends with the test."""
    started = []
    inherited = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}

    def start(module: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=inherited | server | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for relative in psutil.process_iter(["cwd"]):
        if relative.info["cwd"] == str(repo) and relative.pid != os.getpid():
            relative.kill()
    for process in started:
        process.communicate()


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def survivors(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still live when the time is up."""
    deadline = time.monotonic() + seconds
    living = processes
    while living and time.monotonic() < deadline:
        time.sleep(0.1)
        living = [p for p in living if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    return living


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """The output up to a line with the text; it must come."""
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if text in line:
            return output
    raise AssertionError(f"ended without {text!r}:\n{output}")


@contextlib.contextmanager
def listening(
    logger: str, hear: Callable[[str], None] = lambda message: None
) -> Iterator[list[str]]:
    """The messages that the logger is given within the block, handed to `hear` at once."""
    messages = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())
            hear(record.getMessage())

    listener = Listener()
    logging.getLogger(logger).addHandler(listener)
    try:
        yield messages
    finally:
        logging.getLogger(logger).removeHandler(listener)


def retrain() -> State[Any]:
    return flow.retrain(return_state=True)


# === The flow ===


def test_success_streams_its_lines_and_publishes_artifacts(
    repo: Path, client: SyncPrefectClient
) -> None:
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
    repo: Path, server: dict[str, str], monkeypatch: pytest.MonkeyPatch
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
    repo: Path, server: dict[str, str], start: Callable[..., subprocess.Popen[str]]
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
    assert drawn != server["PREFECT_API_AUTH_STRING"]
    assert not any(drawn in command for command in commands)
    process.kill()
    assert survivors(processes, 30) == []


# === The server ===


def test_server_answers_nobody_without_its_login(server: dict[str, str], api: httpx.Client) -> None:
    origin = server["PREFECT_API_URL"].removesuffix("/api")
    foreign = {"Origin": "https://evil.example"}
    described = api.get(f"{origin}/openapi.json").json()["paths"]
    routes = [(method, path) for path, methods in described.items() for method in methods]
    assert len(routes) > 150
    with httpx.Client(base_url=server["PREFECT_API_URL"], headers=foreign) as page:
        open_to_all = set()
        for method, path in routes:
            answer = page.request(method, path, json={})
            assert "access-control-allow-origin" not in answer.headers
            # else a browser would ask its user, and from then on log in for every page
            assert "www-authenticate" not in answer.headers
            if answer.status_code != 401:
                open_to_all.add((method, path))
        assert open_to_all == {("get", "/health"), ("get", "/ready")}
        for login in (("kinoflow", "wrong"), ("", "")):
            assert page.post("/flows/filter", json={}, auth=login).status_code == 401
        asked = foreign | {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
        }
        refused = page.options("/flows/filter", headers=asked)
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers
    assert api.get("/admin/version").is_success  # what the page asks to try a login
    known = api.post("/flows/filter", json={}, headers=foreign)
    assert known.is_success
    assert "access-control-allow-origin" not in known.headers
    own = api.post("/flows/filter", json={}, headers={"Origin": origin})
    assert own.headers["access-control-allow-origin"] == origin
    assert api.get(f"{origin}/ui-settings").json()["api_url"] == f"{origin}/api"


@pytest.mark.parametrize(
    "path",
    [
        "events/in",
        "events/out",
        "logs/out",
        "task_runs/subscriptions/scheduled",
        "work_pools/any/workers/connect",
    ],
)
def test_sockets_of_the_server_ask_for_the_login_as_well(server: dict[str, str], path: str) -> None:
    url = f"{server['PREFECT_API_URL'].replace('http', 'ws', 1)}/{path}"
    join = functools.partial(connect, url, origin=Origin("https://evil.example"), proxy=None)
    with pytest.raises(InvalidStatus), join():
        pass
    speaks = [Subprotocol("prefect")]
    for token in (None, "", "kinoflow:wrong"):
        with join(subprotocols=speaks) as socket:
            socket.send(json.dumps({"type": "auth", "token": token}))
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=5)
    with join(subprotocols=speaks) as socket:
        socket.send(json.dumps({"type": "auth", "token": server["PREFECT_API_AUTH_STRING"]}))
        assert json.loads(socket.recv(timeout=5)) == {"type": "auth_success"}


def test_the_login_is_told_to_the_user_alone(server: dict[str, str]) -> None:
    login = server["PREFECT_API_AUTH_STRING"]
    [file] = get_current_settings().home.glob("login-*")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == f"{login}\n"
    assert login not in (get_current_settings().home / "server.log").read_text()
    commands = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    assert any("prefect server start" in command for command in commands)
    assert not any(login in command for command in commands)


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
