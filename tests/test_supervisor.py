"""A supervised command ends with its owner. Real processes, recognised by their arguments."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from kinoflow.system import supervisor
from kinoflow.system.supervisor import run_supervised

PYTHON = [sys.executable, "-S", "-c"]
# each of these runs until it is killed, and ends with the marker among its arguments
SLEEPS = "import time; time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
# three generations: each starts the next, on Linux in a session of its own, where no signal to a
# group would reach it; the youngest is stubborn
PARENT = """
import subprocess, sys, time
session = sys.platform == "linux"
subprocess.Popen([sys.executable, "-S", "-c", *sys.argv[1:]], start_new_session=session)
time.sleep(60)
"""
FAMILY = [PARENT, PARENT, STUBBORN]
OWNER = """
import sys, time
from kinoflow.system.supervisor import run_supervised
with run_supervised(sys.argv[1:], grace=0.5):
    time.sleep(60)
"""


pytestmark = pytest.mark.usefixtures("interruptible")


@pytest.fixture
def marker() -> Iterator[str]:
    """An argument that tells a test's processes apart from all others; ends them after it."""
    marker = f"supervisor-test-{uuid.uuid4().hex}"
    yield marker
    for process in marked(marker):
        process.kill()


def marked(marker: str) -> list[psutil.Process]:
    """The living processes whose last argument is the marker; supervisors and owners too."""
    found = psutil.process_iter(["cmdline", "status"])
    return [
        process
        for process in found
        if (process.info["cmdline"] or [""])[-1] == marker
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
        (["no-such-command-anywhere"], 127),
        (["/"], 126),
    ],
)
def test_exit_code_is_the_commands(command: list[str], code: int) -> None:
    with run_supervised(command, stderr=subprocess.PIPE) as process:
        assert process.wait(10) == code


def test_command_is_looked_up_in_its_own_environment(tmp_path: Path) -> None:
    script = tmp_path / "greet"
    script.write_text('#!/bin/sh\necho "$GREETING from $PWD"\n')
    script.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GREETING": "hello"}
    with run_supervised(["greet"], env=env, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.communicate(timeout=10)[0] == f"hello from {tmp_path}\n"


def test_command_has_no_input() -> None:
    # were it to share the supervisor's pipe, `cat` would wait for ever
    with run_supervised(["cat"]) as process:
        assert process.wait(10) == 0


def test_output_comes_while_the_command_runs(marker: str) -> None:
    with run_supervised(
        [*PYTHON, "print('first', flush=True); " + SLEEPS, marker],
        stdout=subprocess.PIPE,
        grace=0.5,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        assert process.poll() is None


def test_leaving_the_block_ends_the_whole_tree(marker: str) -> None:
    with run_supervised([*PYTHON, *FAMILY, marker], grace=0.5) as process:
        assert eventually(lambda: len(marked(marker)) == 4)
        assert process.poll() is None
    assert marked(marker) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_owners_death_ends_the_whole_tree(marker: str, number: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, *PYTHON, *FAMILY, marker], stderr=subprocess.DEVNULL
    )
    assert eventually(lambda: len(marked(marker)) == 5)
    owner.send_signal(number)
    owner.wait(10)
    assert eventually(lambda: marked(marker) == [])


def test_a_signal_to_the_supervisor_ends_the_whole_tree(marker: str) -> None:
    with run_supervised([*PYTHON, *FAMILY, marker], grace=0.5) as process:
        assert eventually(lambda: len(marked(marker)) == 4)
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGTERM
        assert marked(marker) == []


def test_the_owner_ends_what_a_killed_supervisor_left(marker: str) -> None:
    with run_supervised([*PYTHON, SLEEPS, marker]) as process:
        assert eventually(lambda: len(marked(marker)) == 2)
        process.kill()
        process.wait(10)
        assert len(marked(marker)) == 1
    assert eventually(lambda: marked(marker) == [])


def test_what_the_command_leaves_behind_ends_with_it(marker: str) -> None:
    leaves = f"import subprocess, sys; subprocess.Popen({PYTHON!r} + [{SLEEPS!r}, sys.argv[1]])"
    with run_supervised([*PYTHON, leaves, marker]) as process:
        assert process.wait(10) == 0
        assert marked(marker) == []


def test_the_command_may_end_in_order(tmp_path: Path, marker: str) -> None:
    tidy = f"""
import pathlib, signal, sys, time
def end(*_):
    time.sleep(0.3)
    pathlib.Path("ended").touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path("ready").touch()
{SLEEPS}
"""
    with run_supervised([*PYTHON, tidy, marker], cwd=tmp_path, grace=10):
        assert eventually((tmp_path / "ready").exists)
    assert (tmp_path / "ended").exists()


def test_parents_are_ended_before_their_children(marker: str) -> None:
    with run_supervised([*PYTHON, *FAMILY, marker], grace=0.5):
        assert eventually(lambda: len(marked(marker)) == 4)
        ages = {relative.pid: relative.create_time() for relative in marked(marker)}
        order = [pid for pid in supervisor._others() if pid in ages]
        assert order == sorted(ages, key=lambda pid: ages[pid])


def test_processes_are_found_without_a_proc_folder_too() -> None:
    me = supervisor._Process(os.getpid(), os.getppid(), os.getpgrp())
    assert me in supervisor._processes()
    assert me in supervisor._processes_by_ps()
