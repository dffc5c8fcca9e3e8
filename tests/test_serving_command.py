"""`python -m serving`: starting and ending a server, and the Bento it is started from."""

import os
import signal
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from kinoflow import config
from kinoflow.bentos import extract_bento, newest
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from serving import settings, state
from tests.bento import SERVING, TOO_MUCH

pytest_plugins = ["tests.bento_fixtures"]


def test_the_slim_set_suffices(bento: Path, tmp_path: Path) -> None:
    extract_bento(bento, tmp_path)
    # Keras imports some of these where they happen to be installed
    code = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(TOO_MUCH)}))
from serving.service import Kinoflow
assert Kinoflow().answering.bundle.labels == ("A", "B", "C")
import serving, kinoflow
print(serving.__file__, kinoflow.__file__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "src",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(Path(name).is_relative_to(tmp_path) for name in done.stdout.split())


def test_sigterm_leaves_nothing_but_the_state_behind(
    bento: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = tmp_path_factory.mktemp("state") / "of a service"
    # as if an earlier one had been killed
    killed = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import os; from kinoflow.system import locks; from serving.__main__ import PREFIX\n"
            "with locks.temporary_folder(PREFIX, 'serving') as folder:\n"
            "    (folder / 'tmp').mkdir(); os.kill(os.getpid(), 9)",
        ],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving", "--bento", bento, "--port", str(port)),
            *("--state", kept),
        ],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "initialized" not in (line := process.stdout.readline()):
        assert line, "the server ended before it was ready"
    assert not left.exists()
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 3
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    _, alive = psutil.wait_procs(started, 1)
    assert not alive
    assert not list(tmp_path.iterdir())
    assert kept.stat().st_mode & 0o777 == 0o700


def test_a_container_starts_the_same_server(bento: Path, tmp_path: Path) -> None:
    extract_bento(bento, tmp_path)
    start = tmp_path / "env" / "docker" / "entrypoint.sh"
    for arguments, expected in (
        ([], "serving.server --host 0.0.0.0 --port 4000"),
        (["serve"], "serving.server --host 0.0.0.0 --port 4000"),
        (["--allow-host", "a"], "serving.server --host 0.0.0.0 --port 4000 --allow-host a"),
        (["serve", "--port", "1"], "serving.server --host 0.0.0.0 --port 4000 --port 1"),
        (["keys", "add", "anna"], "-m serving.keys add anna"),
        (["echo", "-m", "other command"], "other command"),
    ):
        # tells what it would have started
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / "python").write_text('#!/bin/sh\necho "$PWD" "$@"\n')
        (tmp_path / "bin" / "python").chmod(0o755)
        told = subprocess.run(
            ["sh", start, *arguments],
            env={
                "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "BENTO_PATH": str(tmp_path),
                "PORT": "4000",
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        assert told.endswith(expected)
        assert told.startswith("-m" if arguments[:1] == ["echo"] else f"{tmp_path}/src -m")


@pytest.mark.parametrize("spoilt", ["src/kinoflow/video/decoder.py", "src/bundle/model.keras"])
def test_a_bento_that_cannot_start_is_not_tried_for_ever(
    bento: Path, tmp_path: Path, spoilt: str
) -> None:
    extract_bento(bento, tmp_path / "unpacked")
    (tmp_path / "unpacked" / spoilt).write_text("spoilt")
    broken = tmp_path / "broken.bento"
    with tarfile.open(broken, "w:xz", preset=0) as archive:
        archive.add(tmp_path / "unpacked", ".")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "serving", "--bento", broken, "--port", port),
            *("--state", tmp_path / "state"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert Path(spoilt).name in done.stdout + done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: the server ended by itself")


def serve(folder: Path, *arguments: str) -> str:
    """The one line with which `python -m serving` refuses."""
    done = subprocess.run(
        [sys.executable, "-m", "serving", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    return line


def test_without_a_bento_it_says_how_to_make_one(tmp_path: Path) -> None:
    assert "make repro" in serve(tmp_path)


def test_a_port_that_is_taken_is_named(bento: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert port in serve(tmp_path, "--bento", str(bento), "--port", port)


def test_only_this_machine_is_served_without_keys(bento: Path, tmp_path: Path) -> None:
    line = serve(tmp_path, "--bento", str(bento), "--host", "0.0.0.0")  # noqa: S104
    assert "python -m serving.keys" in line
    assert "--without-keys" in line
    # what a container starts refuses as well
    extract_bento(bento, tmp_path / "bento")
    done = subprocess.run(
        [sys.executable, "-m", "serving.server", "--host", "0.0.0.0"],  # noqa: S104
        cwd=tmp_path / "bento" / "src",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"{line}\n"


def test_the_state_of_another_service_is_left_alone(bento: Path, tmp_path: Path) -> None:
    lock = state.take(tmp_path / "state")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    line = serve(
        tmp_path, *("--bento", str(bento), "--port", port, "--state", str(tmp_path / "state"))
    )
    assert line.startswith("error: another service keeps its state in")
    os.close(lock)


def test_only_a_whole_bento_is_unpacked(bento: Path, tmp_path: Path) -> None:
    cut, text = tmp_path / "cut.bento", tmp_path / "text.bento"
    cut.write_bytes(bento.read_bytes()[:5000])
    text.write_text("no archive")
    for wrong in (cut, text, tmp_path / "missing.bento"):
        with pytest.raises(UserError, match=wrong.name):
            extract_bento(wrong, tmp_path / "unpacked")


def test_nothing_is_unpacked_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("evil")
    with tarfile.open(tmp_path / "evil.bento", "w:xz") as archive:
        archive.add(tmp_path / "evil", "../outside")
    with pytest.raises(UserError):
        extract_bento(tmp_path / "evil.bento", tmp_path / "a" / "b")
    assert not (tmp_path / "a" / "outside").exists()


def test_the_newest_bento_is_served(tmp_path: Path) -> None:
    for age, name in enumerate([".partial-1-new.bento", "new.bento", "old.bento"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert newest(tmp_path).name == "new.bento"


def test_settings_are_those_of_params_yaml(bento: Path, project: Path, tmp_path: Path) -> None:
    extract_bento(bento, tmp_path)
    path = tmp_path / "src" / "serving.json"
    given = config.load(Workspace(project).params).serving
    assert settings.load(path).model_dump() == given.model_dump(
        exclude={"gpu", "check_videos", "style"}
    )
    assert given.timeout_s == SERVING["timeout_s"]
    # checked by the same model as params.yaml
    path.write_text(path.read_text().replace('"top_k": 2', '"top_k": 0'))
    with pytest.raises(UserError, match="top_k: Input should be greater than or equal to 1"):
        settings.load(path)


def test_outside_of_a_bento_there_are_no_settings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="runs from a Bento"):
        settings.load(tmp_path / "serving.json")
