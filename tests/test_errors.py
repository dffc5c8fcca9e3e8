"""How commands end: what a user can mend is one line that says so, whatever stage it is."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from kinoflow.system import errors
from kinoflow.system.errors import UserError
from tests.conftest import ROOT, RunStage
from tests.media import footage, moving_square, write_video

# a limit on file sizes stands in for a full disk: both fail in the middle of a write
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from kinoflow.data import extraction
from kinoflow.system import errors, files
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


@pytest.mark.parametrize(
    "stage", ["download", "catalog", "split", "extract", "select", "validate", "package"]
)
def test_a_stage_without_params_is_one_line(
    tmp_path: Path, stage: str, run_stage: RunStage
) -> None:
    done = run_stage(tmp_path, stage)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: params.yaml is missing")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "stage", ["split", "extract", "validate", "train lrcn", "evaluate lrcn", "package"]
)
def test_a_stage_without_its_input_is_one_line(
    tmp_path: Path, stage: str, run_stage: RunStage
) -> None:
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
    tmp_path: Path, stage: str, changes: dict[str, str], says: str, run_stage: RunStage
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


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        (UserError("params.yaml: two\nlines\x1b[2J"), 2, "error: params.yaml: two lines\\x1b[2J\n"),
        (OSError(errno.ENOSPC, "No space left on device", "a.npy"), 2, "error: no space left"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a.npy"), 2, "error: no space left"),
        (OSError(f"Unable to write (errno = {errno.ENOSPC})"), 2, "error: no space left"),
        (FileNotFoundError(errno.ENOENT, "No such file", "made"), 2, "error: run the maker\n"),
        (KeyboardInterrupt(), 130, "interrupted: run again to go on from here\n"),
        (None, 0, ""),
    ],
)
def test_a_command_ends_with_a_code_and_at_most_one_line(
    raised: BaseException | None, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        if raised:
            raise raised

    with pytest.raises(SystemExit) as ended:
        errors.run(command, missing=lambda error: "run the maker")
    assert ended.value.code == code
    told = capsys.readouterr().err
    assert told.startswith(says)
    assert told.count("\n") == bool(says)


@pytest.mark.parametrize(
    "bug", [ValueError("bug"), OSError(errno.EACCES, "denied"), FileNotFoundError("a")]
)
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    def command() -> None:
        raise bug

    with pytest.raises(type(bug)) as raised:
        errors.run(command)
    assert raised.value is bug
