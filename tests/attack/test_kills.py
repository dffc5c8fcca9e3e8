"""Kills at every moment of a replacement: what is there afterwards is whole, old or new."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

# a file system that cannot exchange two folders, and a library that does not know how to
WAYS = {
    "exchanged": "",
    "renamed twice": "files._exchange = lambda one, other: False",
}

WRITER = """
import os, signal, sys
from pathlib import Path
from kinoflow.system import files
{way}
LAST, FILE = Path("last"), Path("file")

def write(version):
    with files.replacing_folder(LAST) as partial:
        for name in "abc":
            (partial / name).write_text(version)
    files.write_text(FILE, version)
"""

# a child for each line of files.py and shutil.py that replacing runs, killed before it
EVERYWHERE = """
import json

def killed_before(step):
    left = step
    def trace(frame, event, argument):
        nonlocal left
        if Path(frame.f_code.co_filename).name not in ("files.py", "shutil.py"):
            return None
        if event == "line":
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    return trace

write("0")
found, step, status = [], 0, 1
while status:
    step += 1
    if not (child := os.fork()):
        sys.settrace(killed_before(step))
        write(str(step))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    exists = LAST.exists()
    files.settle(LAST)
    folder = {path.name: path.read_text() for path in LAST.iterdir()}
    found.append((step, exists, folder, FILE.read_text()))
    for leftover in Path().glob(".partial-*"):
        files.shutil.rmtree(leftover, ignore_errors=True)
print(json.dumps(found))
"""

ON_AND_ON = """
number = int(sys.argv[1])
while True:
    number += 1
    write(str(number))
    print(number, flush=True)
"""


@pytest.mark.parametrize("way", WAYS)
def test_a_kill_before_any_line_leaves_old_or_new(tmp_path: Path, way: str) -> None:
    script = WRITER.format(way=WAYS[way]) + EVERYWHERE
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    folder_before, file_before = "0", "0"
    changed = 0
    for step, exists, folder, file in found:
        assert sorted(folder) == ["a", "b", "c"], step
        assert len(set(folder.values())) == 1, step
        assert folder["a"] in (folder_before, str(step)), step
        assert file in (file_before, str(step)), step
        # who reads without settling first finds it too, where the file system can exchange
        assert exists or way == "renamed twice", step
        changed += folder["a"] == str(step)
        folder_before, file_before = folder["a"], file
    # both kinds were met: kills before the exchange and after it
    assert 10 < changed < len(found) - 10
    if way == "renamed twice":
        assert not all(exists for _, exists, *_ in found)
    print(f"\n{way}: {len(found)} kills, {changed} after the new folder was in place")


@pytest.mark.parametrize("way", WAYS)
def test_kills_at_random_moments_leave_old_or_new(
    tmp_path: Path, way: str, count: Callable[[int, int], int]
) -> None:
    rng = random.Random(7)
    script = WRITER.format(way=WAYS[way]) + ON_AND_ON
    settle = (
        "from pathlib import Path; from kinoflow.system import files; files.settle(Path('last'))"
    )
    number = kills = 0
    for _ in range(count(3, 150)):
        writer = subprocess.Popen(
            [sys.executable, "-c", script, str(number)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(rng.uniform(0, 0.05))
        writer.kill()
        said = writer.stdout.read().split()
        writer.wait()
        writer.stdout.close()
        if not (tmp_path / "last").exists():
            assert way == "renamed twice"
            subprocess.run([sys.executable, "-c", settle], cwd=tmp_path, check=True)
        folder = {path.name: int(path.read_text()) for path in (tmp_path / "last").iterdir()}
        assert sorted(folder) == ["a", "b", "c"]
        assert len(set(folder.values())) == 1
        assert folder["a"] >= int(said[-1] if said else number)
        number = folder["a"]
        kills += 1
    print(f"\n{way}: {kills} kills in {number} replacements")
