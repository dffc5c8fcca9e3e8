"""What the flows tell of a pipeline that fails, or that an earlier run left broken."""

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
def testreason(output: str, reason: str) -> None:
    lines = dedent(output).strip().splitlines()
    assert dvc.reason("name", lines, 255) == reason


def test_locks_that_dvc_left_cut_off_do_not_stop_it_for_ever(repo: Path) -> None:
    (repo / ".dvc" / "tmp").mkdir(exist_ok=True)
    (repo / ".dvc" / "tmp" / "rwlock").touch()
    dvc.repro(lambda line: None, Workspace())
    assert (repo / "trained_lrcn").exists()
