"""Jobs of a real service that is killed in the middle."""

import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from kinoflow import bundle
from kinoflow.timeline import timeline
from kinoflow.workspace import Workspace
from tests.media import moving_square, write_video
from tests.running import PATIENCE

pytest_plugins = ["tests.bento_fixtures"]


class Service:
    """A service with a state of its own."""

    started: ClassVar[list["Service"]] = []

    def __init__(self, bento: Path, state: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE)
        command = [sys.executable, "-m", "serving", "--bento", str(bento), "--port", port]
        self.process = subprocess.Popen(
            [*command, "--state", str(state)], stdout=subprocess.PIPE, text=True
        )
        self.started.append(self)
        assert self.process.stdout is not None
        while "initialized" not in (line := self.process.stdout.readline()):
            assert line, "the service ended before it was ready"

    def kill(self) -> None:
        """End all of its processes at once, as a machine does that loses power."""
        processes = psutil.Process(self.process.pid).children(recursive=True)
        for process in [self.process, *processes]:
            process.send_signal(signal.SIGKILL)
        self.process.wait()
        psutil.wait_procs(processes, 10)

    def until(self, name: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            job: dict[str, Any] = self.http.get(f"/jobs/{name}").json()
            if wanted(job):
                return job
            time.sleep(0.01)
        raise AssertionError(job)


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """What a failed test leaves running ends with it."""
    yield
    while Service.started:
        if (service := Service.started.pop()).process.poll() is None:
            service.kill()


def test_a_killed_service_answers_every_job_that_it_accepted_once(
    project: Path, bento: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    path = write_video(tmp_path / "long.avi", moving_square(300))
    video = path.read_bytes()
    service = Service(bento, tmp_path / "state")
    names = []
    for _ in range(4):
        answer = service.http.post("/jobs?window=0.16", files={"video": video})
        assert answer.status_code == 202, answer.text
        names.append(answer.json()["id"])
    first = service.until(names[0], lambda job: bool(job["state"] == "done"))
    service.until(names[1], lambda job: bool(job["state"] == "running" and job["progress"] > 0.1))
    service.kill()

    service = Service(bento, tmp_path / "state")
    jobs = [service.until(name, lambda job: bool(job["finished"])) for name in names]
    assert [job["state"] for job in jobs] == ["done"] * 4
    # what was answered before is not answered again
    assert jobs[0] == first
    expected = timeline(path, bundle.load(Workspace(project).bundle("voting")), 0.16)
    assert len(first["result"]["moments"]) == len(expected.moments) > 200
    assert [job["result"] for job in jobs] == [first["result"]] * 4
    with sqlite3.connect(tmp_path / "state" / "jobs.sqlite") as database:
        rows = database.execute("SELECT id, attempts FROM jobs ORDER BY number").fetchall()
    assert rows == [(names[0], 1), (names[1], 2), (names[2], 1), (names[3], 1)]
    assert not list((tmp_path / "state" / "uploads").iterdir())
    service.process.terminate()
    assert service.process.wait(15) == 0
    assert not list((tmp_path / "temporary").iterdir())
