"""Several runs at once: each waits for what another one writes, and none for the dead."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from kinoflow.system import files, locks
from stages.sources.archives.unpack import unpack
from tests.archives import write_zip
from tests.conftest import ROOT, params_text
from tests.server import Site, serving

FILES = {f"{number % 3}/{number:04d}.avi": b"%d" % number for number in range(1500)}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server, and an empty folder to work in."""
    (tmp_path / "tree").mkdir()
    monkeypatch.chdir(tmp_path / "tree")
    with serving() as site:
        yield site


def started(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """A Python program here that has kinoflow."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys\nfrom pathlib import Path\n{code}"]
        + [str(argument) for argument in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def ended(process: "subprocess.Popen[str]") -> str:
    """What a program said on stderr; it must have ended well."""
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def killed(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def slow(path: Path) -> None:
    """Bring a file so slowly that it never comes."""
    path.write_bytes(b"half")
    time.sleep(600)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


HOLD = """
import tempfile
import time
from kinoflow.system import locks
with locks.held(Path(sys.argv[1]), "testing"):
    print("held", flush=True)
    while not Path(sys.argv[2]).exists():
        time.sleep(0.01)
"""


def test_who_waits_says_so_and_goes_on_when_the_other_ends_or_dies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "locks" / "x"
    for kill in (False, True):
        go = tmp_path / "go"
        other = started(HOLD, lock, go)
        assert other.stdout is not None
        other.stdout.readline()
        assert locks.is_held(lock)
        third = started(HOLD, lock, tmp_path)
        assert third.stderr is not None
        line = third.stderr.readline()
        assert line == f"waiting for another run that is testing (process {other.pid})\n"
        if kill:
            killed(other)
        else:
            go.touch()
        with locks.held(lock, "testing"):
            pass
        ended(third)
        if not kill:
            ended(other)
            go.unlink()
    assert not locks.is_held(lock)
    assert list(lock.parent.iterdir()) == []


LOOK = """
from kinoflow.system import locks
print("looking", flush=True)
while True:
    for path in Path(sys.argv[1]).iterdir():
        locks.is_held(path)
"""


def test_runs_that_look_whether_a_lock_is_held_are_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looking = started(LOOK, tmp_path)
    assert looking.stdout is not None
    looking.stdout.readline()
    for number in range(300):
        with locks.held(tmp_path / str(number), "testing"):
            pass
    assert looking.poll() is None
    killed(looking)
    assert capsys.readouterr().err == ""


COUNT = """
from kinoflow.system import locks
for _ in range(100):
    with locks.held(Path(sys.argv[1] + ".lock"), "counting"):
        number = int(Path(sys.argv[1]).read_text())
        Path(sys.argv[1]).write_text(str(number + 1))
"""


def test_a_command_has_its_lock_until_it_ends(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "data"
    wait = (
        "import sys; print('begun', flush=True); sys.stdin.readline(); print('done'); sys.exit(7)"
    )

    def run(doing: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "kinoflow.system.locks",
                lock,
                doing,
                sys.executable,
                "-c",
                wait,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    first = run("running the pipeline")
    assert first.stdout is not None
    assert first.stdout.readline() == "begun\n"
    # as a terminal does, to all: the command may have reasons to take its time
    first.send_signal(signal.SIGINT)
    second = run("bringing the data")
    assert second.stderr is not None
    told = second.stderr.readline()
    assert told == (f"waiting for another run that is running the pipeline (process {first.pid})\n")
    assert first.poll() is None
    out, _ = first.communicate("\n", timeout=60)
    assert (out, first.returncode) == ("done\n", 7)
    out, _ = second.communicate("\n", timeout=60)
    assert (out, second.returncode) == ("begun\ndone\n", 7)


def test_no_two_hold_a_lock_at_once(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    for process in [started(COUNT, counter) for _ in range(3)]:
        ended(process)
    assert counter.read_text() == "300"


UNPACK = """
from stages.sources.archives.unpack import unpack
unpack(Path(sys.argv[1]), Path(sys.argv[2]), 1)
"""


def test_unpackings_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", FILES)
    out = tmp_path / "out"
    running = [started(UNPACK, archive, out / name) for name in ("one", "two", "two")]
    wait_for(lambda: len([p for p in out.glob(".partial-*") if p.is_dir()]) > 1)
    for number in range(3):
        unpack(write_zip(tmp_path / "small.zip", {"x.avi": b"x"}), out / str(number), 1)
    for process in running:
        assert ended(process) == ""
    assert contents(out / "one") == contents(out / "two") == FILES
    assert sorted(path.name for path in out.iterdir()) == ["0", "1", "2", "one", "two"]


def test_what_a_killed_unpacking_left_goes_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", FILES)
    out = tmp_path / "out"
    victim = started(UNPACK, archive, out / "one")
    wait_for(lambda: len(list(out.glob(".partial-*/0/*"))) > 20)
    killed(victim)
    (leftover,) = [path for path in out.glob(".partial-*") if path.is_dir()]
    with locks.new_folder(out / "two") as living:
        (living / "x.avi").write_bytes(b"x")
        unpack(archive, out / "one", 1)
        assert living.exists()
    assert not leftover.exists()
    assert contents(out) == {f"one/{name}": FILES[name] for name in FILES} | {"two/x.avi": b"x"}


FETCH = """
from stages.sources.remote.resumable import RemoteFile, download
download(RemoteFile(sys.argv[1]), Path(sys.argv[2]))
"""


def test_downloads_at_once_bring_a_file_once(site: Site, tmp_path: Path) -> None:
    content = os.urandom(400_000)
    # the first run is killed halfway, however slow the machine is
    site.files["/data.zip"], site.cut = content, 100_000
    path = tmp_path / "data.zip"
    victim = started(FETCH, f"{site.url}/data.zip", path)
    wait_for((tmp_path / "data.zip.part").exists)
    running = [started(FETCH, f"{site.url}/data.zip", path) for _ in range(2)]
    assert running[0].stderr is not None
    assert "waiting for another run that is downloading data.zip" in running[0].stderr.readline()
    site.cut = None
    killed(victim)
    for process in running:
        ended(process)
    assert path.read_bytes() == content
    assert len([asked for asked in site.asked if asked.startswith("GET")]) == 2
    assert "bytes=" in site.asked[1], "the second goes on where the killed one was"


def test_download_at_once_and_killed_brings_all_videos_in_the_end(
    site: Site, tmp_path: Path
) -> None:
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    text = params_text().replace("source: synthetic", "source: archive")
    Path("params.yaml").write_text(text.replace("path: null", f"path: {site.url}/a.zip"))
    archive = write_zip(tmp_path / "a.zip", FILES)
    site.files["/a.zip"], site.pause = archive.read_bytes(), 0.02
    download = "from kinoflow.workspace import run\nfrom stages.download import main\nrun(main)"
    victim = started(download)
    wait_for(lambda: list(Path(".downloads").glob(".partial-*/0/*")))
    running = [started(download) for _ in range(2)]
    killed(victim)
    said = [ended(process) for process in running]
    assert sum("waiting for another run that is bringing the data" in text for text in said) >= 1
    assert contents(Path("data")) == FILES
    assert len(site.asked) == 2, "one whole file, and whether it is still the same"
    assert not [*Path(".downloads").glob("*.zip*"), *Path(".downloads").glob(".partial-*")]
    assert len(files.read_json(Path("work/downloaded.json"))) == len(FILES)


SYNC = """
from stages.download import sync
from stages.sources.item import Item
from tests.test_locks import slow
if __name__ == "__main__":
    wanted = [Item(f"A/{n}.avi", "", slow) for n in range(8)]
    sync(wanted, Path("data"), Path("manifest"), workers=2)
"""


def test_nobody_goes_on_writing_for_a_run_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    victim = started(SYNC)
    wait_for(lambda: len(list(Path("data").rglob("*.avi"))) == 2)
    workers = psutil.Process(victim.pid).children(recursive=True)
    assert len(workers) >= 2
    victim.kill()
    victim.wait()
    wait_for(lambda: not psutil.wait_procs(workers, timeout=1)[1])


def test_temporary_folders_of_killed_runs_go_and_all_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "own-elsewhere").mkdir()
    others = {"own-no-lock", "own-file", "own-link", "other"}
    (tmp_path / "own-no-lock").mkdir()
    (tmp_path / "own-file").touch()
    (tmp_path / "own-link").symlink_to("own-elsewhere")
    (tmp_path / "own-elsewhere" / "owner").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "owner").touch()
    dead = (
        "import os, tempfile; from kinoflow.system import locks; tempfile.tempdir = sys.argv[1]\n"
        "with locks.temporary_folder('own-', 'testing') as folder:\n"
        "    (folder / 'file').touch(); os.kill(os.getpid(), 9)"
    )
    started(dead, tmp_path).communicate()
    assert {path.name for path in tmp_path.iterdir()} > others
    with (
        locks.temporary_folder("own-", "testing") as first,
        locks.temporary_folder("own-", "testing") as second,
    ):
        assert first.stat().st_mode & 0o777 == 0o700
        there = {path.name for path in tmp_path.iterdir()}
        # a folder with a lock that nobody holds is a leftover, and a link to one is not
        assert there == others | {first.name, second.name}
    assert {path.name for path in tmp_path.iterdir()} == others


def test_a_temporary_folder_of_another_user_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "own-left").mkdir()
    (tmp_path / "own-left" / "owner").touch()
    own = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: own + 1)
    with locks.temporary_folder("own-", "testing"):
        assert (tmp_path / "own-left").exists()
    monkeypatch.setattr(os, "getuid", lambda: own)
    with locks.temporary_folder("own-", "testing"):
        assert not (tmp_path / "own-left").exists()
