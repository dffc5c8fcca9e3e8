import importlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kinoflow import config, workspace
from kinoflow.config import Params
from kinoflow.system import terminal
from tests.slow import is_slow

terminal.quiet()
if "PYTEST_XDIST_WORKER" in os.environ:
    # there is a worker for each core: with several threads each they would wait for one another
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(name, "1")

ROOT = Path(__file__).parent.parent


def params_text() -> str:
    """params.yaml with the embedded data, whatever data a developer has chosen in it."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    chosen = re.compile(r"^(  source:) \S+(.*\n  path:) .*?( +#|$)", re.MULTILINE)
    return chosen.sub(r"\1 synthetic\2 null\3", text, count=1)


_LEFT_OUT = pytest.StashKey[int]()

# files that take long go first, so that no worker is left alone with one at the end
_LONG = [
    f"test_{name}.py"
    for name in (
        *("pipeline", "models", "training", "recipes", "flows"),
        *("serving", "serving_command", "package"),
        *("service_load", "service_requests", "service_processes"),
        *("service_guarded", "service_fuzz"),
        *("retrain_killed", "extract", "layers", "flow_server"),
    )
]

# files that share what takes long to start, each group of which is run by one worker
_TOGETHER = {
    **dict.fromkeys(
        (
            "tests/test_serving.py",
            "tests/test_page.py",
            "tests/test_serving_client.py",
            *(
                f"tests/attack/test_service_{name}.py"
                for name in ("guarded", "fuzz", "load", "processes", "requests")
            ),
        ),
        "the service",
    ),
    **dict.fromkeys(
        (
            f"tests/test_{name}.py"
            for name in ("flows", "flow_server", "flow_recovery", "deploy", "notifying", "alarms")
        ),
        "a Prefect server",
    ),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the attacks at their full length")


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _LONG.index(name) if (name := item.path.name) in _LONG else 99)
    for item in items:
        file = item.path.relative_to(ROOT / "tests").as_posix()
        if is_slow(file, item.name.partition("[")[0]):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return _TOGETHER.get(file, file)

    return Scheduling(config, log)


def pytest_deselected(items: list[pytest.Item]) -> None:
    config = items[0].config
    if config.option.markexpr == "not slow":
        slow = sum(item.get_closest_marker("slow") is not None for item in items)
        config.stash[_LEFT_OUT] = config.stash.get(_LEFT_OUT, 0) + slow


def pytest_sessionfinish(session: pytest.Session) -> None:
    # in a worker: what its controller shall tell
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(_LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # every worker collects, and leaves out, the same tests
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


@pytest.hookimpl(trylast=True)  # after the letter of the test
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # at once, since the summary is half an hour away, and never comes for a run that is ended
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        lines = report.longreprtext.strip().splitlines() or [""]
        reason = next((line[1:].strip() for line in lines if line.startswith("E ")), lines[-1])
        print(f"\n{report.nodeid} failed in {report.when}: {reason}", flush=True)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if left_out := config.stash.get(_LEFT_OUT, 0):
        terminalreporter.write_line(f"{left_out} slow tests were left out: `make test` runs them")


@pytest.fixture
def within(record_property: Callable[[str, object], None]) -> Callable[[str, float, float], None]:
    """Asserts that a number is below its bound, and records both for benchmarks/numerics.py."""

    def below(what: str, value: float, bound: float) -> None:
        record_property(what, (float(value), bound))
        assert value < bound, what

    return below


@pytest.fixture(scope="session")
def defaults() -> Params:
    """The params.yaml of the repository."""
    return config.load(ROOT / "params.yaml")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder with real footage, named by KINOFLOW_REAL_DATA."""
    folder = os.environ.get("KINOFLOW_REAL_DATA")
    if not folder:
        pytest.skip("KINOFLOW_REAL_DATA is not set")
    return Path(folder)


RunStage = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_stage(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> RunStage:
    """Runs what `python -m stages.<name>` does in a folder, and tells how it ends.

    It does so in this process, since most stages import their libraries for longer than they run.
    """

    def run(folder: Path, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        capfd.readouterr()
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            patch.setattr(sys, "argv", [name, *arguments])
            with pytest.raises(SystemExit) as ended:
                workspace.run(importlib.import_module(f"stages.{name}").main)
        code, (out, err) = ended.value.code, capfd.readouterr()
        assert isinstance(code, int)
        return subprocess.CompletedProcess([name, *arguments], code, out, err)

    return run


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let what a test starts heed SIGINT, which a shell makes its background jobs ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
