"""The Prefect server for users who have none: it obeys only who has its login."""

import functools
import io
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from prefect.settings import PREFECT_HOME, get_current_settings, temporary_settings
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from flows import reach_this_machine_directly
from flows import server as servers
from kinoflow.system.errors import UserError
from tests.running import PATIENCE

pytest_plugins = ["tests.flows_fixtures"]


def test_server_answers_nobody_without_its_login(
    prefect_server: dict[str, str], api: httpx.Client
) -> None:
    origin = prefect_server["PREFECT_API_URL"].removesuffix("/api")
    foreign = {"Origin": "https://evil.example"}
    described = api.get(f"{origin}/openapi.json").json()["paths"]
    routes = [(method, path) for path, methods in described.items() for method in methods]
    assert len(routes) > 150
    url = prefect_server["PREFECT_API_URL"]
    with httpx.Client(base_url=url, headers=foreign, timeout=PATIENCE) as page:
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
def test_sockets_of_the_server_ask_for_the_login_as_well(
    prefect_server: dict[str, str], path: str
) -> None:
    url = f"{prefect_server['PREFECT_API_URL'].replace('http', 'ws', 1)}/{path}"
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
        socket.send(
            json.dumps({"type": "auth", "token": prefect_server["PREFECT_API_AUTH_STRING"]})
        )
        assert json.loads(socket.recv(timeout=5)) == {"type": "auth_success"}


def test_the_login_is_told_to_the_user_alone(prefect_server: dict[str, str]) -> None:
    login = prefect_server["PREFECT_API_AUTH_STRING"]
    file = get_current_settings().home / "login"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == f"{login}\n"
    assert login not in (get_current_settings().home / "server.log").read_text()
    commands = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    assert any("prefect server start" in command for command in commands)
    assert not any(login in command for command in commands)


def test_the_login_stays_unless_others_could_read_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "login"
    first = servers._login(file)
    assert len(first) > 32
    assert servers._login(file) == first == file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert [*tmp_path.iterdir()] == [file]
    assert capsys.readouterr().err == ""

    file.chmod(0o640)
    second = servers._login(file)
    assert second not in (first, "")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "others could read it" in capsys.readouterr().err
    file.write_text("\n")
    assert len(servers._login(file)) > 32


def test_commands_that_start_at_once_agree_on_a_login(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads:
        drawn = [*threads.map(lambda _: servers._login(tmp_path / "login"), range(32))]
    assert {*drawn} == {(tmp_path / "login").read_text().strip()}


@pytest.mark.parametrize("terminal", [True, False])
def test_the_login_is_printed_on_a_terminal_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(printed, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", printed)
    # a server that ends at once: what is printed comes before
    monkeypatch.setattr(servers, "_STARTS_WITHIN", 0)
    with (
        temporary_settings({PREFECT_HOME: tmp_path}),
        pytest.raises(UserError, match="does not start"),
        servers.running(),
    ):
        pass
    login = (tmp_path / "login").read_text().strip()
    assert (login in printed.getvalue()) == terminal
    assert (str(tmp_path / "login") in printed.getvalue()) != terminal


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
