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
