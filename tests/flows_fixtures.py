"""A miniature pipeline for the flows to run, a Prefect server, and commands that talk to it."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from prefect import get_client
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    temporary_settings,
)

from flows import server as servers
from kinoflow.reports.records import Timing
from kinoflow.workspace import Workspace
from tests import documents
from tests.conftest import ROOT
from tests.running import PATIENCE
from tests.webhooks import Webhook

# a port that nothing listens at
DEAD_PROXY = "http://127.0.0.1:9"

DVC_YAML = """
stages:
  prepare:
    cmd: python -c "open('prepared', 'w').close()"
    outs:
    - prepared
  train:
    foreach:
    - lrcn
    do:
      cmd: python train.py ${item}
      deps:
      - train.py
      - prepared
      outs:
      - trained_${item}
"""
TRAINS = "open('trained_lrcn', 'w').close()"
REASON = "lrcn has the best validation accuracy, 0.900"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a pipeline of two stages, and the reports that a real one would write."""
    root = tmp_path_factory.mktemp("template")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=root, check=True)
    shutil.copy(Workspace(ROOT).params, Workspace(root).params)
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "train.py").write_text(TRAINS)
    (root / "stages").mkdir()
    (root / "stages" / "__init__.py").touch()
    (root / "stages" / "download.py").write_text("print('download: nothing new')")
    for name, accuracy in (("lrcn", 0.9), ("convlstm", 0.8)):
        report = root / "reports" / name
        documents.metrics(accuracy).write(report / "metrics.json")
        Timing(latency_ms=3.25, train_seconds=60).write(report / "timing.json")
    documents.winner("lrcn", REASON).write(Workspace(root).winner)
    return root


@pytest.fixture
def repo(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working folder."""
    root = tmp_path / "repo"
    subprocess.run(["cp", "-r", template, root], check=True)
    monkeypatch.chdir(root)
    return root


@contextlib.contextmanager
def past_a_dead_proxy(home: Path) -> Iterator[None]:
    """Have Prefect keep its files in `home`, and let it reach nothing over a proxy."""
    with pytest.MonkeyPatch.context() as patch, temporary_settings({PREFECT_HOME: home}):
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.setenv(name, DEAD_PROXY)
        patch.setenv("PREFECT_HOME", str(home))
        yield


@dataclass
class PrefectServer:
    """A running server, the environment variables that reach it, and what ends it."""

    home: Path
    access: dict[str, str]
    end: Callable[[], None]
    used_in: set[Path] = field(default_factory=set)  # files of tests that are through with it


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server that began with an empty database."""
    home = tmp_path_factory.mktemp("prefect")
    with contextlib.ExitStack() as running:
        with past_a_dead_proxy(home):
            access = running.enter_context(servers.running())
        yield PrefectServer(home, access, running.close)


@pytest.fixture(scope="module")
def prefect_server(
    started: PrefectServer, request: pytest.FixtureRequest
) -> Iterator[dict[str, str]]:
    """What lets a client reach a Prefect server, past a dead proxy; that of Prefect's settings."""
    settings = {
        PREFECT_API_URL: started.access["PREFECT_API_URL"],
        PREFECT_API_AUTH_STRING: started.access["PREFECT_API_AUTH_STRING"],
    }
    with past_a_dead_proxy(started.home), temporary_settings(settings):
        yield started.access
    started.used_in.add(request.path)
    needing = [
        item for item in request.session.items if "started" in getattr(item, "fixturenames", ())
    ]
    if {item.path for item in needing} <= started.used_in:
        started.end()  # even an idle one uses the processor


@pytest.fixture
def client(prefect_server: dict[str, str]) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def api(prefect_server: dict[str, str]) -> Iterator[httpx.Client]:
    """A browser, as it were, whose user has logged in."""
    user, _, password = prefect_server["PREFECT_API_AUTH_STRING"].partition(":")
    url = prefect_server["PREFECT_API_URL"]
    with httpx.Client(base_url=url, auth=(user, password), timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def start(
    repo: Path, prefect_server: dict[str, str], interruptible: None
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `python -m <module>` in the repository; whatever is left of it ends with the test."""
    started = []
    inherited = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}

    def start(module: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=inherited | prefect_server | environment,
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


@pytest.fixture(scope="module")
def webhook(prefect_server: dict[str, str]) -> Iterator[Webhook]:
    """A web server, and blocks of Prefect that send to it."""
    with Webhook() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        message = {"subject": "{{subject}}", "text": "{{body}}"}
        for path in ("custom", "broken", "hanging"):
            url = f"http://{server.host}/{path}-token"
            CustomWebhookNotificationBlock.model_validate(
                {"name": path, "url": url, "json_data": message, "timeout": 60}
            ).save(path, overwrite=True)
        SlackWebhook(url=f"json://{server.host}/slack").save("operations", overwrite=True)  # type: ignore[arg-type]
        SlackWebhook(url=f"json://{server.host}/broken").save("broken", overwrite=True)  # type: ignore[arg-type]
        Secret(value="not to be seen").save("secret", overwrite=True)  # type: ignore[arg-type]
        yield server
        server.over.set()
        server.shutdown()
