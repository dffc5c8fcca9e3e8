"""The schedule after everything was killed at once, as by a power cut, on a real database."""

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from prefect import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from tests.running import PATIENCE, family, read_until, survivors
from tests.test_flow_recovery import runs

pytest_plugins = ["tests.flows_fixtures"]

WAITS = "import time; print('training', flush=True); time.sleep(120)"
TRAINS = "open('trained_lrcn', 'w').close()"


def programs_of_postgresql() -> Path | None:
    """The folder of its programs; None where it is not installed."""
    # Debian puts them nowhere on PATH
    found = [*Path("/usr/lib/postgresql").glob("*/bin"), Path(shutil.which("initdb") or "").parent]
    return next((folder for folder in found if (folder / "initdb").exists()), None)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment variables that have a Prefect server use a database."""
    programs = programs_of_postgresql()
    if request.param == "postgresql":
        if programs is None:
            pytest.skip("PostgreSQL is not installed")
        with postgresql(programs) as url:
            yield {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url}
    elif programs and not request.config.getoption("--soak"):
        pytest.skip("the short form runs on PostgreSQL alone")
    else:
        yield {}


@contextlib.contextmanager
def postgresql(programs: Path) -> Iterator[str]:
    """Start a PostgreSQL server, and yield the URL of an empty database."""
    # it refuses to be run by root
    user = "nobody" if os.getuid() == 0 else None
    # a folder that others may enter; another test file may have moved that of temporary files
    folder = Path(tempfile.mkdtemp(prefix="kinoflow-postgresql-", dir="/var/tmp"))
    if user:
        shutil.chown(folder, user)
    run = functools.partial(subprocess.run, user=user, cwd="/", capture_output=True)
    port, data = free_port(), str(folder / "data")
    try:
        make = [programs / "initdb", "-D", data, "-U", "kinoflow", "-A", "trust", "--no-sync"]
        run(make, check=True)
        start = [str(programs / "postgres"), "-D", data, "-h", "127.0.0.1", "-p", str(port)]
        start += ["-k", str(folder), "-F"]
        with subprocess.Popen(
            start, user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as server:
            try:
                ask = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
                until(lambda: run(ask, check=False).returncode == 0)
                yield f"postgresql+asyncpg://kinoflow@127.0.0.1:{port}/postgres"
            finally:
                server.send_signal(signal.SIGINT)  # ends at once, in order
    finally:
        shutil.rmtree(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_schedule_comes_back_after_the_machine_went_down(
    repo: Path, database: dict[str, str], interruptible: None
) -> None:
    home, port = repo / "home", free_port()
    environment = {**os.environ, **database, "PREFECT_HOME": str(home), "PREFECT_API_URL": ""}
    environment |= {"PREFECT_SERVER_API_PORT": str(port)}
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.deployments"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    try:
        (repo / "train.py").write_text(WAITS)
        process = start()
        read_until(process, "being served")
        settings = {
            PREFECT_API_URL: f"http://127.0.0.1:{port}/api",
            PREFECT_API_AUTH_STRING: (home / "login").read_text().strip(),
        }
        with temporary_settings(settings), get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name("retrain/scheduled")
            first = client.create_flow_run_from_deployment(deployment.id)
            read_until(process, "training")
            going = family(process)
            for each in going:  # a power cut spares none
                each.suspend()
            for each in going:
                each.kill()
            assert survivors(going, 10) == []

            (repo / "train.py").write_text(TRAINS)
            process = start()
            output = read_until(process, "being served")
            assert f"the run {first.name} was cut short" in output
            [again] = [run for run in runs(client, deployment.id) if run.id != first.id]
            assert f"the run {again.name} makes up for {first.name}" in output
            # the worker began anew, and so may the run, after the time for which a dead one counts
            until(lambda: client.read_flow_run(again.id).state_name == "Completed", 4 * PATIENCE)
            assert client.read_flow_run(first.id).state_name == "Crashed"
            after = client.read_deployment_by_name("retrain/scheduled")
            assert (after.id, after.paused) == (deployment.id, False)
            [entry] = after.schedules
            assert entry.active
            assert entry.schedule == deployment.schedules[0].schedule
        assert (home / "prefect.db").exists() != bool(database)
        going = family(process)
        process.send_signal(signal.SIGTERM)
        assert survivors(going, 30) == []
    finally:
        for process in started:
            for each in psutil.process_iter(["cwd"]):
                if each.info["cwd"] == str(repo) and each.pid != os.getpid():
                    each.kill()
            process.communicate()
