"""Candidates on the workers of a Dask cluster, of which one is killed while it trains."""

import contextlib
import itertools
import os
import runpy
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import psutil  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from flows import cluster, dvc
from flows.reproduce import BEFORE, on_workers, reproduce
from kinoflow.config import Params
from kinoflow.workspace import Workspace
from tests.pipeline import FITS, Starter, trained, wait_until
from tests.running import PATIENCE, survivors
from tests.training import settings

pytest_plugins = ["tests.pipeline_fixtures"]

# both of few layers, since compiling takes longer than training here
QUICK = {
    name: {"model": "c3d", "options": {"filters": [filters], "units": 4}}
    for name, filters in {"lrcn": 2, "c3d": 4}.items()
}


@pytest.fixture
def repo(pipeline: Path) -> Path:
    return pipeline


@contextlib.contextmanager
def dask_scheduler() -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """The address of a Dask scheduler, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--no-dashboard"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"tcp://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a Dask scheduler."""
    with dask_scheduler() as (address, _):
        yield address


Worker = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def worker(
    scheduler: str, repo: Path, tmp_path: Path, ending: list["subprocess.Popen[str]"]
) -> Worker:
    """Start a worker in the repository; all of them end with the test."""
    numbers = itertools.count()

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "dask", "worker", scheduler, "--host", "127.0.0.1"]
        command += ["--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path)]
        process = subprocess.Popen(
            # without the process that starts a killed worker again: the other one is to take over
            [*command, "--no-nanny"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            # the last is what that process would set
            env=os.environ | {"CUDA_VISIBLE_DEVICES": str(next(numbers)), "OMP_NUM_THREADS": "1"},
        )
        ending.append(process)
        return process

    return start


@pytest.fixture
def on_cluster(repo: Path, scheduler: str) -> Path:
    """The repository, whose settings name the scheduler."""
    params = YAML(typ="safe").load(repo / "params.yaml")
    params["compute"] |= {"parallel": 1, "dask_address": scheduler}
    YAML().dump(params, repo / "params.yaml")
    return repo


def descendants(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def trainings(process: "subprocess.Popen[str]") -> list[str]:
    """The candidates that a worker trains."""
    commands = [child.cmdline() for child in descendants(process)]
    return [command[2] for command in commands if command[1:2] == ["train.py"]]


def test_a_killed_workers_candidate_ends_on_another_one_with_the_bytes_of_an_undisturbed_run(
    on_cluster: Path, worker: Worker, defaults: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = on_cluster
    (repo / "train.py").write_text(FITS)
    params = YAML(typ="safe").load(repo / "params.yaml")
    values = settings(defaults, epochs=10).model_dump(mode="json")
    values |= {"candidates": QUICK, "compute": params["compute"]}
    YAML().dump(values, repo / "params.yaml")
    workers = [worker(), worker()]
    lines: list[str] = []
    killed: list[psutil.Process] = []

    def kill() -> None:
        # a failing run ends the workers, which then is what is to be told
        with contextlib.suppress(psutil.NoSuchProcess):
            kill_the_first()

    def kill_the_first() -> None:
        wait_until(lambda: all(trainings(each) for each in workers))
        # each worker trains one of the two
        [victim] = trainings(workers[0])
        assert [victim, *trainings(workers[1])] in ([*QUICK], [*QUICK][::-1])
        wait_until(lambda: any((repo / "checkpoints" / victim).glob("*")))
        killed.extend(descendants(workers[0]))
        workers[0].kill()

    killing = threading.Thread(target=kill)
    killing.start()
    reproduce(lines.append, Workspace(), ["evaluate"])
    killing.join()
    assert len(killed) >= 3  # a supervisor, DVC and a training
    assert survivors(killed, 1) == []
    assert sum("is gone" in line for line in lines) == 1
    assert sum("> python train.py" in line for line in lines) == 3
    found = bundles(repo)
    assert all({*files} == {"model.keras", "bundle.json", "history.csv"} for files in found)
    assert [*(repo / ".locks").iterdir()] == []

    shutil.rmtree(repo / "models")
    for name in QUICK:
        monkeypatch.setattr(sys, "argv", ["train.py", name])
        runpy.run_path("train.py")
    assert bundles(repo) == found


def bundles(repo: Path) -> list[dict[str, bytes]]:
    return [
        {path.name: path.read_bytes() for path in (repo / "models" / name).iterdir()}
        for name in QUICK
    ]


def test_no_worker_is_given_up_while_it_runs(
    on_cluster: Path, worker: Worker, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dvc.repro(None, Workspace(), BEFORE)
    # of hundreds of looks, some meet the client's own questions, whose answers name no workers
    monkeypatch.setattr(cluster, "_POLL", 0.001)
    lines: list[str] = []
    with dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}):
        worker()
        cluster.run_candidates(["lrcn"], ["train"], lines.append, Workspace(on_cluster), scheduler)
    assert sum("begins on the worker" in line for line in lines) == 1
    assert not any("is gone" in line for line in lines)


def test_workers_end_what_they_run_if_its_run_is_killed_and_the_next_run_completes_it(
    on_cluster: Path, worker: Worker, start_runner: Starter
) -> None:
    repo = on_cluster
    (repo / "wait").touch()
    workers = [worker(), worker()]
    process = start_runner()
    wait_until(lambda: len(trained(repo)) == 2)
    running = [child for each in workers for child in descendants(each)]
    process.kill()
    assert survivors(running, 10) == []
    (repo / "wait").unlink()
    lines: list[str] = []
    reproduce(lines.append, Workspace())
    assert "c3d      | training c3d" in lines
    assert (repo / "chosen").exists()
    assert [*(repo / ".locks").iterdir()] == []


def test_a_failure_on_a_worker_ends_the_others_and_says_why(
    on_cluster: Path, worker: Worker
) -> None:
    repo = on_cluster
    for name in ("wait", "fail-convlstm"):
        (repo / name).touch()
    workers = [worker(), worker()]
    begun: list[psutil.Process] = []
    environments: list[dict[str, str]] = []

    def say(line: str) -> None:
        if not begun and len(trained(repo)) == 2:
            begun.extend(child for each in workers for child in descendants(each))
            environments.extend(p.environ() for p in begun if p.cmdline()[1:2] == ["train.py"])
            (repo / "go-convlstm").touch()

    with pytest.raises(dvc.StageFailed, match="^train@convlstm: no rate for convlstm: set one$"):
        reproduce(say, Workspace())
    assert len(begun) >= 6
    assert survivors(begun, 1) == []
    # each sees the GPU of its worker, and uses as many cores as that worker may
    assert sorted(each["CUDA_VISIBLE_DEVICES"] for each in environments) == ["0", "1"]
    assert not any("OMP_NUM_THREADS" in each for each in environments)


def test_what_is_wrong_with_the_cluster_is_said_in_a_line(
    on_cluster: Path, worker: Worker, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE", 1)
    monkeypatch.setattr(cluster, "_CONNECT_TIMEOUT", "1s")
    lines: list[str] = []

    def run(root: Path, address: str) -> None:
        cluster.run_candidates(["lrcn"], ["train"], lines.append, Workspace(root), address)

    with pytest.raises(
        dvc.StageFailed, match="cluster: no scheduler answers at tcp://127.0.0.1:9 "
    ):
        run(on_cluster, "tcp://127.0.0.1:9")
    with pytest.raises(dvc.StageFailed, match=f"there are no workers: .*`dask worker {scheduler}`"):
        run(on_cluster, scheduler)
    worker()
    monkeypatch.setattr(cluster, "_PATIENCE", PATIENCE)
    elsewhere = on_cluster.parent / "elsewhere"
    with pytest.raises(dvc.StageFailed, match=f"there is no {elsewhere}/params.yaml on its mach"):
        run(elsewhere, scheduler)


def test_a_scheduler_that_goes_ends_the_run(on_cluster: Path) -> None:
    with dask_scheduler() as (address, process):
        looks = iter(range(100))

        def watch() -> None:
            if next(looks) == 1:
                process.kill()

        with pytest.raises(
            dvc.StageFailed, match=f"the scheduler at {address} has gone: "
        ) as found:
            cluster.run_candidates(["lrcn"], ["train"], print, Workspace(), address, watch)
        assert found.value.may_pass


def test_where_latency_decides_workers_do_not_measure_it(defaults: Params) -> None:
    assert on_workers(defaults) == ("train", "crossvalidate", "evaluate")
    selection = defaults.selection.model_copy(update={"max_latency_ms": 20.0})
    limited = defaults.model_copy(update={"selection": selection})
    assert on_workers(limited) == ("train", "crossvalidate")
