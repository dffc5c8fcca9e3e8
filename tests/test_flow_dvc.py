"""What the flows tell of a pipeline that fails, or that an earlier run left broken."""

import signal
import threading
from pathlib import Path
from textwrap import dedent

import pytest

from flows import dvc
from kinoflow.workspace import Workspace

pytest_plugins = ["tests.flows_fixtures"]


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
    assert str(dvc.failure("name", lines, 255)) == reason


@pytest.mark.parametrize(
    ("last", "code", "may_pass"),
    [
        ("error: https://a.example cannot be read: timed out", 75, True),
        ("error: there is no https://a.example (HTTP 404)", 2, False),
        ("ERROR: failed to reproduce 'a': failed to run: python a.py, exited with 75", 255, True),
        ("ERROR: failed to reproduce 'a': failed to run: python a.py, exited with 2", 255, False),
        (
            "ERROR: failed to reproduce 'a': '/a' is busy, it is being blocked by: (PID 1)",
            255,
            True,
        ),
        ("ERROR: Unable to acquire lock. Most likely another DVC process is running", 255, True),
    ],
)
def test_only_what_may_pass_by_itself_is_tried_again(last: str, code: int, may_pass: bool) -> None:
    assert dvc.failure("name", [last], code).may_pass == may_pass


def test_locks_that_dvc_left_cut_off_do_not_stop_it_for_ever(repo: Path) -> None:
    (repo / ".dvc" / "tmp").mkdir(exist_ok=True)
    (repo / ".dvc" / "tmp" / "rwlock").touch()
    dvc.repro(lambda line: None, Workspace())
    assert (repo / "trained_lrcn").exists()


def test_a_signal_that_another_thread_gets_ends_a_stage_that_prints_nothing(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As does one that comes just before the main thread waits: it interrupts no system call."""
    (repo / "train.py").write_text(
        "import time; print('training', flush=True); time.sleep(15); open('trained_lrcn', 'w')"
    )

    class Stopped(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    def send() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    def hear(line: str) -> None:
        if line == "training":
            threading.Timer(1, send).start()

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(Stopped):
            dvc.repro(hear, Workspace())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not (repo / "trained_lrcn").exists()
