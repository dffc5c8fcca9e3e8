"""The service changes to another Bento, without a pause, or stays with the one that it has."""

import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from kinoflow import config
from kinoflow.bentos import crown, extract_bento, version
from kinoflow.bundle import Description
from kinoflow.config import Candidate
from kinoflow.training import export as bundles
from kinoflow.workspace import Workspace
from stages.package_assemble import assemble
from stages.package_build import build, export
from stages.package_card import card
from stages.package_reference import make
from tests.media import moving_square, write_video
from tests.networks import build as network

pytest_plugins = ["tests.bento_fixtures"]

_PATIENCE_S = 120


class Service:
    """`python -m serving` in a work tree."""

    def __init__(self, folder: Path, log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=60)
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serving", "--port", port],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.until("Application startup complete")

    def until(self, text: str) -> None:
        """Wait until the log holds the text."""
        deadline = time.monotonic() + _PATIENCE_S
        while text not in (said := self.log.read_text()):
            assert self.process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    def workers(self) -> list[psutil.Process]:
        return [
            process
            for process in psutil.Process(self.process.pid).children(recursive=True)
            if "serving.worker" in " ".join(process.cmdline())
        ]

    def post(self, path: str, video: bytes) -> dict[str, Any]:
        answer = self.http.post(path, files={"video": video})
        assert answer.is_success, answer.text
        said: dict[str, Any] = answer.json()
        return said

    def changes(self) -> tuple[int, int]:
        """How many changes were done, and how many failed."""
        text = self.http.get("/metrics").text
        done, failed = (
            re.search(rf'kinoflow_model_changes_total{{result="{result}"}} (\d+)', text)
            for result in ("done", "failed")
        )
        assert done
        assert failed
        return int(done[1]), int(failed[1])


@pytest.fixture(scope="module")
def tree(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swap") / "project"
    shutil.copytree(project, folder)
    return folder


@pytest.fixture(scope="module")
def first(tree: Path) -> Path:
    (bento,) = Workspace(tree).dist.glob("*.bento")
    return bento


@pytest.fixture(scope="module")
def second(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model, with the labels in another order."""
    folder = tmp_path_factory.mktemp("second")
    described = Description.read(Workspace(tree).bundle("voting"))
    labels = described.labels[::-1]
    candidate = Candidate.model_validate(described.candidate)
    bundles.save(
        folder / "voting",
        network(candidate, described.clip, len(labels)),
        described.model_copy(update={"labels": labels, "seed": 1}),
        history="epoch\n",
    )
    settings = config.load(Workspace(tree).params).serving
    made = card(Workspace(tree), "voting", folder / "voting")
    held_out = make(Workspace(tree), folder / "voting")
    assemble(folder / "voting", settings, made, held_out, folder / "context")
    target = Workspace(tree).dist / "kinoflow-second.bento"
    export(build(folder / "context", "second", folder / "home"), target)
    return target


@pytest.fixture(scope="module")
def service(tree: Path, first: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    crown(Workspace(tree).champion, first)
    service = Service(tree, tmp_path_factory.mktemp("log") / "log")
    yield service
    started = psutil.Process(service.process.pid).children(recursive=True)
    service.process.terminate()
    assert service.process.wait(20) == 0
    _, alive = psutil.wait_procs(started, 5)
    assert not alive


@pytest.fixture
def video(tree: Path) -> bytes:
    return next(Workspace(tree).data.rglob("*.avi")).read_bytes()


def spoilt(bento: Path, target: Path, spoil: Callable[[Path], object]) -> Path:
    """A copy of a Bento that `spoil` has changed a file of."""
    folder = target.with_suffix("")
    extract_bento(bento, folder)
    spoil(folder / "src")
    with tarfile.open(target, "w:xz", preset=0) as archive:
        archive.add(folder, ".")
    shutil.rmtree(folder)
    return target


def expects_otherwise(src: Path) -> None:
    path = src / "check" / "check.json"
    held = json.loads(path.read_text())
    held["videos"][0]["probabilities"]["A"] += 0.01
    path.write_text(json.dumps(held))


def test_a_bento_that_does_not_work_leaves_the_old_one_serving(
    service: Service, tree: Path, first: Path, video: bytes
) -> None:
    dist, champion = Workspace(tree).dist, Workspace(tree).champion
    cut = dist / "cut.bento"
    cut.write_bytes(first.read_bytes()[:5000])
    dies = "import os; os.kill(os.getpid(), 11)\n"
    cases = [
        (cut, "cut.bento is no Bento, or a damaged one"),
        (
            spoilt(first, dist / "tampered.bento", expects_otherwise),
            "otherwise than when it was packed: a probability is off by 0.01",
        ),
        (
            spoilt(
                first,
                dist / "dies.bento",
                lambda src: (src / "serving" / "logs.py").write_text(dies),
            ),
            "its worker ended with code -11 before it was ready",
        ),
    ]
    before = service.post("/predict", video)
    (worker,) = service.workers()
    for count, (bento, reason) in enumerate(cases, 1):
        crown(champion, bento)
        service.until(f"{bento.name} is not served")
        not_served = service.http.get("/model").json()["not_served"]
        assert not_served.startswith(f"{bento.name} is not served")
        assert reason in not_served
        assert f"{not_served}; dist/{first.name} stays" in service.log.read_text()
        assert service.changes() == (0, count)
    # killed by somebody while it starts
    whole = shutil.copy(first, dist / "whole.bento")
    crown(champion, Path(whole))
    service.until("dist/whole.bento is started beside")
    (starting,) = [other for other in service.workers() if other.pid != worker.pid]
    starting.send_signal(signal.SIGKILL)
    service.until("whole.bento is not served: its worker ended with code -9")
    # none of them is tried again
    time.sleep(2.5)
    assert service.changes() == (0, 4)
    assert service.workers() == [worker]
    after = service.post("/predict", video)
    assert after["probabilities"] == before["probabilities"]
    # what is served is to be served again
    crown(champion, first)
    deadline = time.monotonic() + 10
    while service.http.get("/model").json()["not_served"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Clients:
    """Clients that never stop: two keep their connection, one does not, one submits jobs."""

    def __init__(self, url: str, video: bytes, long: bytes) -> None:
        self.url, self.video, self.long = url, video, long
        self.answers: list[tuple[float, dict[str, Any]]] = []  # with the times of the requests
        self.jobs: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self.stopping = threading.Event()
        self.submitted: deque[str] = deque()  # ids of jobs that were not seen to end yet
        self.threads = [
            threading.Thread(target=self._repeat, args=(repeated,))
            for repeated in (self._keep, self._keep, self._connect, self._work)
        ]

    def _repeat(self, repeated: Callable[[httpx.Client], None]) -> None:
        # without retries: a request that is lost is a failure
        with httpx.Client(base_url=self.url, trust_env=False, timeout=60) as http:
            while not self.stopping.is_set():
                try:
                    repeated(http)
                except Exception as error:  # noqa: BLE001
                    self.failures.append(repr(error))

    def _keep(self, http: httpx.Client, **headers: str) -> None:
        sent = time.time()
        answer = http.post("/predict", files={"video": self.video}, headers=headers)
        self.answers.append((sent, answer.raise_for_status().json()))

    def _connect(self, http: httpx.Client) -> None:
        self._keep(http, Connection="close")

    def _work(self, http: httpx.Client) -> None:
        answer = http.post("/jobs?window=0.1", files={"video": self.long}).raise_for_status()
        self.submitted.append(answer.json()["id"])
        # one waits while another is worked on: at every moment a job is not done
        if len(self.submitted) == 2:
            self._see_end(http)

    def _see_end(self, http: httpx.Client) -> None:
        name, deadline = self.submitted.popleft(), time.monotonic() + _PATIENCE_S
        job: dict[str, Any] = {"finished": None}
        while not job["finished"] and time.monotonic() < deadline:
            job = http.get(f"/jobs/{name}").raise_for_status().json()
            time.sleep(0.05)
        self.jobs.append(job)

    def __enter__(self) -> "Clients":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        with httpx.Client(base_url=self.url, trust_env=False, timeout=60) as http:
            while self.submitted:
                self._see_end(http)


class Camera:
    """A client of /live that sends frames until the service closes the connection.

    Without frames the service closes it itself, with another code, after a minute.
    """

    def __init__(self, url: str) -> None:
        self._live = connect(f"{url.replace('http', 'ws')}/live", proxy=None)
        self._frame = bytes(cv2.imencode(".jpg", moving_square(1)[0])[1])
        self._thread = threading.Thread(target=self._film)
        self.closed: ConnectionClosed | None = None

    def _film(self) -> None:
        try:
            while True:
                self._live.send(self._frame)
                self._live.recv()
                time.sleep(0.2)
        except ConnectionClosed as end:
            self.closed = end

    def __enter__(self) -> "Camera":
        self._live.send('{"key": null}')
        self._live.recv()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.close()
        self._thread.join()


def test_it_changes_under_load_without_losing_a_request_or_a_job(
    service: Service, tree: Path, first: Path, second: Path, video: bytes, tmp_path: Path
) -> None:
    long = write_video(tmp_path / "long.avi", moving_square(200)).read_bytes()
    before = service.post("/predict", video)
    assert before["model"]["bento"] == version(first)
    (old,) = service.workers()
    with Clients(service.url, video, long) as clients, Camera(service.url) as camera:
        crown(Workspace(tree).champion, second)
        service.until(f"{second.name} is served instead of")
        changed = time.time()
        psutil.wait_procs([old], _PATIENCE_S)
        gone = time.time()
        assert not old.is_running()
        time.sleep(1)
        assert camera.closed is not None
        assert camera.closed.rcvd is not None
        assert camera.closed.rcvd.code == 1012  # the service restarts: connect again
    assert clients.failures == []
    versions = [(sent, answer["model"]["bento"]) for sent, answer in clients.answers]
    assert {version for sent, version in versions if sent > gone} == {"second"}
    assert {version for sent, version in versions if sent < changed - 1} == {
        before["model"]["bento"]
    }
    after = service.post("/predict", video)
    assert list(after["probabilities"]) == list(before["probabilities"])[::-1]

    # one ran meanwhile, and each is answered once, by one of the models
    assert [job for job in clients.jobs if job["created"] < changed < job["finished"]]
    for job in clients.jobs:
        assert job["state"] == "done", job
        assert len(job["result"]["moments"]) > 150
        assert job["result"]["labels"] == list(
            (before if job["bento"] != "second" else after)["probabilities"]
        )
    with sqlite3.connect(tree / ".serving" / "jobs.sqlite") as database:
        assert {*database.execute("SELECT attempts FROM jobs")} == {(1,)}
    assert not list((tree / ".serving" / "uploads").iterdir())

    (worker,) = service.workers()
    worker.kill()
    service.until("the worker ended with code -9: another is started")
    assert service.post("/predict", video)["model"]["bento"] == "second"
