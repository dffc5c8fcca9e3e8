import subprocess
import sys
from pathlib import Path

import pytest

from kinoflow.system import files
from tests.conftest import ROOT
from tests.media import footage, moving_square, write_video

# a limit on file sizes stands in for a full disk: both fail in the middle of a write
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from kinoflow.data import extraction
from kinoflow.system import errors
from kinoflow.system import terminal
from kinoflow.system import files
from kinoflow.video import ClipSpec

def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    {what}

errors.run(main)
"""


@pytest.mark.parametrize(
    "what",
    [
        "files.write_text(Path('target'), 'x' * 5000)",
        "extraction.extract_clip(Path('video.avi'), ClipSpec(8, 64, 64), Path('target'))",
    ],
)
def test_a_full_disk_is_one_line_and_leaves_no_half_file(tmp_path: Path, what: str) -> None:
    write_video(tmp_path / "video.avi", moving_square(8))
    script = FULL_DISK.format(what=what)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: no space left")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["video.avi"]


def test_a_kill_in_the_middle_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "target"
    files.write_text(target, "old")
    script = (
        "import os, signal\nfrom pathlib import Path\nfrom kinoflow.system import files\n"
        "with files.replacing(Path('target')) as partial:\n"
        "    partial.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    files.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_failing_writer_keeps_the_old_folder(tmp_path: Path) -> None:
    with files.replacing_folder(tmp_path / "out") as partial:
        (partial / "a").write_text("old")

    def fail() -> None:
        with files.replacing_folder(tmp_path / "out") as partial:
            (partial / "a").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "stage", ["download", "catalog", "split", "extract", "select", "validate", "package"]
)
def test_a_stage_without_params_is_one_line(tmp_path: Path, stage: str) -> None:
    done = run_stage(tmp_path, stage)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: params.yaml is missing")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "stage", ["split", "extract", "validate", "train lrcn", "evaluate lrcn", "package"]
)
def test_a_stage_without_its_input_is_one_line(tmp_path: Path, stage: str) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    done = run_stage(tmp_path, *stage.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("stage", "changes", "says"),
    [
        ("download", {"seed": "sede"}, "unknown key sede"),
        ("download", {"source: synthetic": "source: folder", "path: null": "path: x"}, "no folder"),
        (
            "download",
            {"source: synthetic": "source: folder", "path: null": "path: empty"},
            "holds no videos",
        ),
        ("catalog", {}, "all 2 videos are labelled A"),
        ("split", {}, "class A has 1 groups"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(
    tmp_path: Path, stage: str, changes: dict[str, str], says: str
) -> None:
    text = (ROOT / "params.yaml").read_text()
    for old, new in changes.items():
        text = text.replace(old, new, 1)
    (tmp_path / "params.yaml").write_text(text)
    (tmp_path / "empty").mkdir()
    footage(tmp_path / "data", classes=1, groups=1)
    (tmp_path / "work").mkdir()
    columns = "video,label,group,frames,fps,seconds,width,height,codec,bytes,md5,readable,problem"
    row = "v_A_g01_c01.avi,A,v_A_g01,1,1,1,1,1,x,1,x,True,"
    header = "video,group,other,other_group,similarity,mirrored\n"
    (tmp_path / "work" / "duplicates.csv").write_text(header)
    (tmp_path / "work" / "catalog.csv").write_text(f"{columns}\nA/{row}\n")
    done = run_stage(tmp_path, stage)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def run_stage(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"stages.{name}", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
