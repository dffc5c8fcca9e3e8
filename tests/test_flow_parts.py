"""What of the flows needs no Prefect server."""

import io
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent

import pytest
from prefect.settings import PREFECT_HOME, temporary_settings

from flows import deployments, dvc, reach_this_machine_directly
from flows import server as servers
from kinoflow.config import Retrain
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace

pytest_plugins = ["tests.flows_fixtures"]


# === What a failure says ===


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("raise ValueError('three\\nlines\\nlong')", "ValueError: three"),
        ("pass", "output 'trained_lrcn' does not exist"),
    ],
)
def test_failure_is_the_stages_own_message(repo: Path, train: str, message: str) -> None:
    (repo / "train.py").write_text(train)
    with pytest.raises(dvc.StageFailed) as failure:
        dvc.repro(lambda line: None, Workspace())
    assert str(failure.value) == f"train@lrcn: {message}"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        pytest.param(
            """
            Running stage 'catalog':
            error: this one went on all the same
            Running stage 'train@lrcn':
            ERROR: failed to reproduce 'train@lrcn': failed to run: python, exited with -9
            """,
            "train@lrcn: failed to run: python, exited with -9",
            id="another stage's message",
        ),
        pytest.param(
            """
            Running stage 'catalog':
            error: this one went on all the same
            ERROR: failed to reproduce 'split': dependency 'params.yaml' does not exist
            """,
            "split: dependency 'params.yaml' does not exist",
            id="a stage that did not begin",
        ),
        pytest.param(
            """
            Traceback (most recent call last):
              File "a.py", line 1
            KeyError: 'a'
            During handling of the above exception, another exception occurred:
            Traceback (most recent call last):
              File "b.py", line 1
            OSError: b
            """,
            "name: OSError: b",
            id="two tracebacks",
        ),
        pytest.param(
            """
            ERROR: failed to reproduce 'a': '/a.txt' is busy, it is being blocked by:
              (PID 9142): dvc repro
            """,
            "a: '/a.txt' is busy, it is being blocked by: (PID 9142): dvc repro",
            id="DVC in several lines",
        ),
        pytest.param(
            """
            './dvc.yaml' is invalid.
            Did not find expected ','
            """,
            "name: exited with 255, having said: './dvc.yaml' is invalid. "
            "Did not find expected ','",
            id="nothing that stands out",
        ),
    ],
)
def test_reason(output: str, reason: str) -> None:
    lines = dedent(output).strip().splitlines()
    assert dvc._reason("name", lines, 255) == reason


def test_locks_that_dvc_left_cut_off_do_not_stop_it_for_ever(repo: Path) -> None:
    (repo / ".dvc" / "tmp").mkdir(exist_ok=True)
    (repo / ".dvc" / "tmp" / "rwlock").touch()
    dvc.repro(lambda line: None, Workspace())
    assert (repo / "trained_lrcn").exists()


# === The server ===


@pytest.mark.parametrize("terminal", [True, False])
def test_the_login_is_printed_on_a_terminal_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(printed, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", printed)
    file = tmp_path / "login"
    with servers._show_login(file, "http://127.0.0.1:4200", "kinoflow:secret"):
        assert file.read_text() == "kinoflow:secret\n"
    assert ("kinoflow:secret" in printed.getvalue()) == terminal
    assert (str(file) in printed.getvalue()) != terminal
    assert not file.exists()


def test_who_takes_the_port_meanwhile_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impostor(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Impostor) as impostor:
        threading.Thread(target=impostor.serve_forever, daemon=True).start()
        monkeypatch.setattr(servers, "_free_port", lambda _: impostor.server_port)
        monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
        with (
            temporary_settings({PREFECT_HOME: tmp_path}),
            pytest.raises(UserError, match="does not start"),
            servers.running(),
        ):
            pass
        impostor.shutdown()
    assert "already in use" in (tmp_path / "server.log").read_text()


def test_a_flow_starts_no_open_server_of_its_own(repo: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "from flows.retrain import retrain; retrain()"],
        env=os.environ | {"PREFECT_API_URL": "", "PREFECT_HOME": str(repo)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "No Prefect API URL provided" in ran.stderr.splitlines()[-1]


def test_what_reaches_others_without_a_proxy_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "one.example, localhost")
    monkeypatch.setenv("no_proxy", ".two.example")
    reach_this_machine_directly()
    for name in ("NO_PROXY", "no_proxy"):
        assert os.environ[name] == ".two.example,one.example,localhost,127.0.0.1,::1"


# === The schedule ===


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
