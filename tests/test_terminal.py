"""What commands print: progress as lines where there is no terminal, no chatter of libraries."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from kinoflow.system import terminal


@pytest.mark.parametrize(
    ("items", "total", "shown"),
    [
        (range(20), None, [f"extract: {done}/20" for done in range(2, 21, 2)]),
        (iter(range(3)), 3, ["extract: 1/3", "extract: 2/3", "extract: 3/3"]),
        (iter(range(3)), None, []),
        ([], None, []),
    ],
)
def test_progress_is_a_line_each_tenth(
    items, total: int | None, shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = list(terminal.progress(items, "extract", total))
    assert given == list(range(len(given)))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == shown


def test_progress_of_a_download_counts_from_where_it_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 2.0, 4.0])
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with terminal.byte_progress("a.zip", 500_000, 1_000_000) as advance:
        advance(100_000)
        advance(200_000)
        advance(7)  # no tenth is full
    assert capsys.readouterr().err.splitlines() == [
        "a.zip: 600.0 kB of 1.0 MB, 50.0 kB/s, 8 s left",
        "a.zip: 800.0 kB of 1.0 MB, 75.0 kB/s, 3 s left",
    ]


def test_progress_of_a_download_of_unknown_size_says_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with terminal.byte_progress("a.zip", 0, None) as advance:
        advance(10**9)
    assert capsys.readouterr().err == ""


def test_a_users_own_settings_of_dependencies_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    terminal.quiet()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_stderr_of_native_code_is_dropped_in_the_block_alone() -> None:
    code = (
        "import os, sys\n"
        "from kinoflow.system.terminal import silenced_stderr\n"
        "with silenced_stderr():\n"
        "    os.write(2, b'chatter'); print('chatter', file=sys.stderr, flush=True)\n"
        "os.write(2, b'told')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "told"
