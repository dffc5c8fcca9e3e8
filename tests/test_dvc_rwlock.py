"""DVC's lock file is mended where it was cut off, and left alone otherwise."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from dvc.lock import make_lock

from kinoflow.system import dvc_rwlock
from kinoflow.workspace import Workspace
from stages import download
from tests.conftest import ROOT
from tests.media import footage

CUT_OFF = [b"", b'{"write": {"/repo/out": {"pi', b"\0" * 40, b"\xff"]
WHOLE = {"write": {}, "read": {"/repo/in": [{"pid": os.getpid(), "cmd": "dvc repro"}]}}


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DVC's file of locks in a new repository, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], check=True)
    path = Path(".dvc/tmp/rwlock")
    path.parent.mkdir(exist_ok=True)
    return path


def test_a_run_of_the_pipeline_gets_past_locks_that_are_cut_off(
    locks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    footage(Path("source"), groups=1, clips=1)
    params = (ROOT / "params.yaml").read_text()
    wanted = params.replace("source: synthetic", "source: folder").replace(
        "path: null", "path: source", 1
    )
    Path("params.yaml").write_text(wanted)
    locks.touch()
    monkeypatch.setattr(sys, "argv", ["download"])
    download.main(Workspace())
    assert Path("data.dvc").exists()
    assert f"{locks} was cut off" in capsys.readouterr().err


@pytest.mark.parametrize("left", CUT_OFF)
def test_what_is_cut_off_is_removed(locks: Path, left: bytes) -> None:
    locks.write_bytes(left)
    dvc_rwlock.mend()
    assert not locks.exists()


def test_what_is_whole_or_not_there_is_left_alone(locks: Path, tmp_path: Path) -> None:
    locks.write_text(json.dumps(WHOLE))
    dvc_rwlock.mend()
    assert json.loads(locks.read_text()) == WHOLE
    dvc_rwlock.mend(tmp_path / "no repository")


def test_what_dvc_is_about_to_write_is_left_alone(locks: Path) -> None:
    locks.touch()
    with make_lock(f"{locks}.lock", tmp_dir=str(locks.parent)):
        mending = threading.Thread(target=dvc_rwlock.mend)
        mending.start()
        time.sleep(1)
        locks.write_text(json.dumps(WHOLE))
    mending.join(10)
    assert json.loads(locks.read_text()) == WHOLE


def test_locks_of_a_process_that_ended_on_another_machine_block_nobody(locks: Path) -> None:
    Path("dvc.yaml").write_text(
        "stages: {train: {foreach: [a, ab], do: {cmd: 'touch ${item}', outs: ['${item}']}}}"
    )
    arguments = ["repro", "--single-item", "train@a"]
    # the number of a process that lives here, and does something else
    left = {"pid": os.getppid(), "cmd": " ".join(["/elsewhere/dvc", *arguments])}
    other = left | {"cmd": "/elsewhere/dvc repro --single-item train@ab"}
    output, read = str(Path("a").absolute()), str(Path("in").absolute())
    held = {"write": {output: left, "/ab": other}, "read": {read: [left], "/in": [other, left]}}
    locks.write_text(json.dumps(held))
    command = [sys.executable, "-m", "dvc", *arguments]
    blocked = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "is busy, it is being blocked by" in blocked.stderr

    dvc_rwlock.forget(Path(), " ".join(arguments))
    assert json.loads(locks.read_text()) == {"write": {"/ab": other}, "read": {"/in": [other]}}
    subprocess.run(command, check=True, capture_output=True)
    assert Path("a").exists()


def test_locks_of_killed_processes_are_dropped_and_those_of_living_ones_kept(
    locks: Path,
) -> None:
    with subprocess.Popen(["true"]) as dead:
        pass
    gone, here = {"pid": dead.pid, "cmd": "dvc repro"}, {"pid": os.getpid(), "cmd": "dvc repro"}
    locks.write_text(json.dumps({"read": {"a": [gone], "b": [gone, here]}, "write": {"c": gone}}))
    assert dvc_rwlock.is_busy()
    dvc_rwlock.drop_dead()
    assert json.loads(locks.read_text()) == {"read": {"b": [here]}, "write": {}}
    locks.write_text(json.dumps({"write": {"c": gone}}))
    assert not dvc_rwlock.is_busy()
