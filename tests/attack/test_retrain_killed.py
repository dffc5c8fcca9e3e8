"""Kills at random moments of a retraining: the next run ends as if nothing had happened."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from prefect import get_client
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    temporary_settings,
)

from kinoflow import bentos
from kinoflow.system import locks
from kinoflow.system.dvc_lock import DvcLock
from kinoflow.system.files import TEMPORARY
from tests.attack import killed_pipeline as pipeline
from tests.conftest import ROOT

_RUN_WITHIN = 300.0  # seconds, on a machine with much else to do
_END_WITHIN = 30.0  # seconds that what a kill leaves behind has to end
_BEGUN = "Beginning flow run"
# what is killed
_WHAT = ("flow", "training", "flow", "training", "training", "flow", "server", "worker")


class House:
    """A work tree, a Prefect server for it, and what runs there."""

    def __init__(self, root: Path) -> None:
        self.workspace = pipeline.lay_out(root)
        self.root = root
        self.home = root.parent / "prefect"
        self.port = 0
        self.begun = 0.0  # when the last run began
        self._server: subprocess.Popen[str] | None = None
        self.access: dict[str, str] = {}

    # === The server ===

    def start_server(self) -> None:
        """Start the server, at the port and with the login that it had before."""
        script = (
            "import json, os, sys, time\n"
            "from flows import server\n"
            "with server.running(int(sys.argv[1])) as access:\n"
            "    print(json.dumps(access), flush=True)\n"
            "    sys.stdin.read()\n"
        )
        self._server = subprocess.Popen(
            [sys.executable, "-c", script, str(self.port)],
            cwd=self.home.parent,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        self.access = json.loads(self._server.stdout.readline())
        self.port = int(self.access["PREFECT_API_URL"].split(":")[2].split("/")[0])

    def kill_server(self) -> None:
        """Kill the server itself, without asking."""
        assert self._server is not None
        for process in psutil.Process(self._server.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "server" in process.cmdline():
                    process.kill()
        self.stop_server()

    def stop_server(self) -> None:
        if self._server is not None:
            self._server.communicate()
            self._server = None

    @property
    def environment(self) -> dict[str, str]:
        ours = {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(self.home)}
        quiet = {"PREFECT_CLIENT_MAX_RETRIES": "1"}  # else a run waits for a killed server
        return os.environ | ours | quiet | self.access

    # === Runs ===

    def start(self, module: str = "flows.retrain") -> "Run":
        return Run(self, module)

    def processes(self) -> list[psutil.Process]:
        """All that runs in the work tree."""
        found = []
        for process in psutil.process_iter(["cwd"]):
            if process.info["cwd"] == str(self.root) and process.pid != os.getpid():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process)
        return found

    def wait_until_empty(self) -> list[list[str]]:
        """Wait for what runs in the work tree; return the commands of what does not end."""
        deadline = time.monotonic() + _END_WITHIN
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        commands = []
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                commands.append(process.cmdline())
        return commands


class Run:
    """A command in the work tree, and what it prints."""

    def __init__(self, house: House, module: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=house.root,
            env=house.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + _RUN_WITHIN
        while not any(text in line for line in [*self.lines]):
            assert time.monotonic() < deadline, self.output
            assert self.process.poll() is None, self.output
            time.sleep(0.02)

    def end(self) -> int:
        code = self.process.wait(_RUN_WITHIN)
        self._reader.join(5)
        return code

    @property
    def output(self) -> str:
        return "".join(self.lines)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Ends with the test, whatever it left."""
    house = House(tmp_path / "tree")
    house.start_server()
    yield house
    for process in house.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    house.stop_server()


def check(house: House, champions: list[str]) -> None:
    """Everything is as an undisturbed run leaves it.

    Args:
        house: the work tree.
        champions: the models that became champion, so far and by now.
    """
    workspace = house.workspace
    found, models = pipeline.made(workspace), pipeline.expected(workspace)
    for name, model in models.items():
        for file in ("model.keras", "bundle.json", "history.csv"):
            assert found.pop(f"models/{name}/{file}") == model
        assert found.pop(f"reports/{name}/predictions.csv") == model
        metrics = json.loads(found.pop(f"reports/{name}/metrics.json"))
        assert metrics["test"]["accuracy"] == pipeline.accuracy(model)
        found.pop(f"reports/{name}/timing.json")
    assert {*found} == {"reports/winner.json"}
    best = max(models.values(), key=pipeline.accuracy)
    assert bentos.version(workspace.bento) == best[:12]
    # the champion: the same as undisturbed
    if not champions or pipeline.accuracy(best) > pipeline.accuracy(champions[-1]):
        champions.append(best)
    assert pipeline.journal(workspace) == [model[:12] for model in champions]
    crowned = bentos.champion(workspace.champion)
    assert crowned is not None
    assert bentos.version(crowned) == champions[-1][:12]
    kept = {f"kinoflow-{model[:12]}.bento" for model in champions} | {"kinoflow.bento"}
    assert {path.name for path in workspace.dist.glob("*.bento")} == kept
    for path in workspace.dist.glob("*.bento"):
        bentos.version(path)  # which raises for half of one
    # nothing is left over
    assert house.wait_until_empty() == []
    locked = house.root / ".locks"
    assert [path.name for path in locked.glob("*") if locks.is_held(path)] == []
    assert [path.name for path in locked.glob("*")] == []
    places = [workspace.data, workspace.work, workspace.models, workspace.reports, workspace.dist]
    for place in (house.root, *places):
        pattern = place.glob if place == house.root else place.rglob
        left = [str(path) for kind in (TEMPORARY, ".replaced-") for path in pattern(f"{kind}*")]
        assert left == []
    assert not (workspace.work / "unpinned").exists()
    lock = DvcLock(house.root)
    for name in ("catalog", "select", "package", "report", "train@lrcn", "evaluate@convlstm"):
        assert name in lock
        assert lock.change(name) is None, name
    held = json.loads((house.root / ".dvc/tmp/rwlock").read_text() or "{}")
    assert not any(held.values()), held


def kill(house: House, what: str, rng: random.Random, seconds: float) -> str | None:
    """Start a run, kill a part of it at a random moment, and return what; None if it had ended.

    Args:
        house: the work tree.
        what: flow, training, worker or server.
        rng: draws the moment, and which process.
        seconds: how long an undisturbed run takes from its first line on.
    """
    run = house.start("flows.deployments" if what == "worker" else "flows.retrain")
    if what == "worker":
        run.wait_for("being served")
        settings = {
            PREFECT_API_URL: house.access["PREFECT_API_URL"],
            PREFECT_API_AUTH_STRING: house.access["PREFECT_API_AUTH_STRING"],
            PREFECT_HOME: house.home,
        }
        with temporary_settings(settings), get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name("retrain/scheduled")
            client.create_flow_run_from_deployment(deployment.id)
    run.wait_for(_BEGUN)
    moment = time.monotonic() + rng.uniform(0, seconds)
    while time.monotonic() < moment and run.process.poll() is None:
        time.sleep(0.005)
    killed = None
    if what == "server":
        killed = "server" if run.process.poll() is None else None
        house.kill_server()
        house.start_server()  # as systemd does; without one, the run would wait for it
    elif what == "flow":
        if run.process.poll() is None:
            run.process.kill()
            killed = "flow"
    elif what == "training":
        inner = [
            process
            for process in house.processes()
            if process.pid != run.process.pid and process.ppid() != run.process.pid
        ]
        if inner:
            with contextlib.suppress(psutil.NoSuchProcess):
                rng.choice(inner).kill()
                killed = "training"
    else:
        living = [each for each in house.processes() if _is_of_worker(each)]
        with contextlib.suppress(psutil.NoSuchProcess):
            rng.choice(living).kill()
            killed = "worker"
        # what the kill left of the schedule would make up for the run by itself
        run.process.send_signal(signal.SIGTERM)
    if what != "worker" or killed:
        run.end()
    return killed


def _is_of_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        command = " ".join(process.cmdline())
        return any(part in command for part in ("flows.deployments", "flows.runner", "prefect."))
    return False


def test_a_run_after_kills_ends_as_if_nothing_had_happened(
    house: House, count: Callable[[int, int], int]
) -> None:
    seed = int(os.environ.get("KINOFLOW_SEED", "17"))
    rng = random.Random(seed)
    champions: list[str] = []
    wanted, seconds, begun = count(2, 200), 4.0, time.monotonic()
    if wanted > len(_WHAT):  # the short form saves this run
        first = house.start()
        first.wait_for(_BEGUN)
        ready = time.monotonic()
        assert first.end() == 0, first.output
        seconds = time.monotonic() - ready
        check(house, champions)

    kills, version, slowest = Counter[str](), 0, 0.0
    while sum(kills.values()) < wanted:
        version += 1
        pipeline.change(house.workspace, version)
        # several in a row: also kills of a run that mends what the one before left
        for _ in range(rng.randint(2, 4)):
            total = sum(kills.values())
            what = _WHAT[total] if total < len(_WHAT) else rng.choice(_WHAT)
            if killed := kill(house, what, rng, seconds):
                kills[killed] += 1
            # half of the time the next run begins at once, while the killed one is still ending
            if rng.random() < 0.5:
                assert house.wait_until_empty() == [], (what, version)
            if sum(kills.values()) == wanted:
                break
        again = time.monotonic()
        run = house.start()
        run.wait_for(_BEGUN)
        ready = time.monotonic()
        assert run.end() == 0, run.output
        ended = time.monotonic()
        slowest = max(slowest, ended - again)
        seconds = min(seconds, ended - ready)  # the first one read all code from the disk
        check(house, champions)
        print(
            f"seed {seed}: {sum(kills.values())} kills {dict(kills)}, {version} runs to the end as "
            f"undisturbed, {len(champions)} champions, {time.monotonic() - begun:.0f} s; "
            f"undisturbed {seconds:.1f} s, slowest after kills {slowest:.1f} s",
            flush=True,
        )
