import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinoflow.config import Dataset
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from stages import download
from stages.sources import folder
from tests.conftest import RunStage, params_text
from tests.media import footage, moving_square, write_video


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return footage(tmp_path / "source", groups=2, clips=1)


def sync(source: Path, tmp_path: Path, *, prune: bool = False) -> list[str]:
    wanted = folder.items(Dataset(source="folder", path=str(source)), 0, Workspace().downloads)
    return download.sync(wanted, tmp_path / "data", tmp_path / "manifest.json", prune=prune)


def test_a_sync_fetches_what_is_new_or_changed_and_removes_what_is_gone(
    source: Path, tmp_path: Path
) -> None:
    assert len(sync(source, tmp_path)) == 4
    assert sync(source, tmp_path) == []

    write_video(source / "A" / "new.avi", moving_square(4))
    changed = write_video(source / "A" / "v_A_g01_c01.avi", moving_square(5, seed=9))
    gone = source / "B" / "v_B_g01_c01.avi"
    gone.unlink()
    assert sorted(sync(source, tmp_path)) == [
        "A/new.avi",
        "A/v_A_g01_c01.avi",
        "B/v_B_g01_c01.avi",
    ]
    copied = tmp_path / "data" / "A" / "v_A_g01_c01.avi"
    assert copied.read_bytes() == changed.read_bytes()
    assert not (tmp_path / "data" / "B" / "v_B_g01_c01.avi").exists()


def test_same_content_with_a_new_date_is_no_change(source: Path, tmp_path: Path) -> None:
    sync(source, tmp_path)
    os.utime(source / "A" / "v_A_g01_c01.avi", (1, 1))
    assert sync(source, tmp_path) == []


def test_a_file_lost_or_cut_short_is_fetched_again(source: Path, tmp_path: Path) -> None:
    sync(source, tmp_path)
    target = tmp_path / "data" / "A" / "v_A_g01_c01.avi"
    content = target.read_bytes()
    target.write_bytes(content[:100])
    assert sync(source, tmp_path) == ["A/v_A_g01_c01.avi"]
    assert target.read_bytes() == content
    target.unlink()
    assert sync(source, tmp_path) == ["A/v_A_g01_c01.avi"]


def test_somebody_elses_files_are_not_removed_unasked(source: Path, tmp_path: Path) -> None:
    mine = write_video(tmp_path / "data" / "A" / "mine.avi", moving_square(4))
    with pytest.raises(UserError, match="holds 1 files that the dataset does not have.*mine.avi"):
        sync(source, tmp_path)
    assert mine.exists()
    sync(source, tmp_path, prune=True)
    assert not mine.exists()


def test_a_half_written_file_of_a_killed_run_is_swept_away(source: Path, tmp_path: Path) -> None:
    leftover = tmp_path / "data" / "A" / ".partial-123-x.avi"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    sync(source, tmp_path)
    assert not leftover.exists()


def test_a_name_as_long_as_names_can_be(source: Path, tmp_path: Path) -> None:
    name = f"{'ü' * 120}x.avi"  # 245 bytes
    write_video(source / "A" / name, moving_square(4))
    assert f"A/{name}" in sync(source, tmp_path)
    assert (tmp_path / "data" / "A" / name).exists()


def test_a_link_that_leads_back_is_followed_once(source: Path) -> None:
    (source / "A" / "up").symlink_to("..")
    (source / "B" / "other").symlink_to(source / "A")
    found = folder.items(Dataset(source="folder", path=str(source)), 0, Workspace().downloads)
    assert sorted(item.name for item in found) == [
        *("A/v_A_g01_c01.avi", "A/v_A_g02_c01.avi", "B/other/v_A_g01_c01.avi"),
        *("B/other/v_A_g02_c01.avi", "B/v_B_g01_c01.avi", "B/v_B_g02_c01.avi"),
    ]
    (source / "A" / "gone.avi").symlink_to("nowhere.avi")
    with pytest.raises(UserError, match=r"gone\.avi is a link that leads nowhere"):
        folder.items(Dataset(source="folder", path=str(source)), 0, Workspace().downloads)


@pytest.mark.parametrize("made", ["nothing", "empty", "text", "file"])
def test_a_folder_without_videos_is_refused(tmp_path: Path, made: str) -> None:
    path = tmp_path / "videos"
    if made == "file":
        path.write_text("no folder")
    elif made != "nothing":
        path.mkdir()
    if made == "text":
        (path / "readme.txt").write_text("no video")
    with pytest.raises(UserError, match="is no folder|holds no videos"):
        folder.items(Dataset(source="folder", path=str(path)), 0, Workspace().downloads)


def test_an_unreadable_folder_is_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def denied(path: str) -> object:
        if str(path).endswith("/A"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UserError, match="source/A cannot be read: Permission denied"):
        folder.items(Dataset(source="folder", path=str(source)), 0, Workspace().downloads)


def test_labels_csv_names_what_is_taken(source: Path, tmp_path: Path) -> None:
    (source / "labels.csv").write_text("video,label\nA/v_A_g01_c01.avi,x\nB/v_B_g01_c01.avi,y\n")
    sync(source, tmp_path)
    assert len(list((tmp_path / "data").rglob("*.avi"))) == 2
    (source / "labels.csv").write_text("video,label\nA/v_A_g01_c01.avi,x\nnowhere.avi,y\n")
    with pytest.raises(UserError, match="lists 1 videos that .* does not hold.*nowhere.avi"):
        sync(source, tmp_path)


DVC = (sys.executable, "-m", "dvc")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository of git and DVC, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run([*DVC, "init", "-q"], check=True)
    return tmp_path


def test_the_pin_changes_only_with_the_data(source: Path, repository: Path, tmp_path: Path) -> None:
    sync(source, tmp_path)
    download.pin(Path("data"))
    pinned = Path("data.dvc").read_text()
    os.utime(source / "A" / "v_A_g01_c01.avi", (1, 1))
    sync(source, tmp_path)
    download.pin(Path("data"))
    assert Path("data.dvc").read_text() == pinned
    write_video(source / "A" / "new.avi", moving_square(4))
    sync(source, tmp_path)
    download.pin(Path("data"))
    assert Path("data.dvc").read_text() != pinned


def test_without_git_the_reason_is_told_and_the_pin_is_made_up_for(
    source: Path, repository: Path, run_stage: RunStage
) -> None:
    def run() -> "subprocess.CompletedProcess[str]":
        return run_stage(repository, "download")

    text = params_text().replace("source: synthetic", "source: folder")
    Path("params.yaml").write_text(text.replace("path: null", f"path: {source}", 1))
    assert run().returncode == 0
    pinned = Path("data.dvc").read_text()
    assert run_stage(repository, "download", "--check").returncode == 0
    write_video(source / "A" / "new.avi", moving_square(4))
    asked = run_stage(repository, "download", "--check")
    assert asked.returncode == 1
    assert asked.stdout == "download: 1 files are new, changed or to be removed\n"
    assert not (repository / "data" / "A" / "new.avi").exists()
    # as in a copy of the repository that was downloaded as an archive
    Path(".git").rename("away")
    refused = run()
    assert refused.returncode == 2
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error")]
    assert f"data/ is here but not pinned, `dvc add data`: {repository} is not a git repo" in line
    assert "run `git init` there" in line
    assert "Traceback" not in refused.stderr
    Path("away").rename(".git")
    # nothing is new in data/, but it differs from its pin
    assert run_stage(repository, "download", "--check").returncode == 1
    made_up_for = run()
    assert made_up_for.returncode == 0, made_up_for.stderr
    assert "nothing new" in made_up_for.stdout
    assert Path("data.dvc").read_text() != pinned
    before = Path("data.dvc").stat()
    assert run().returncode == 0
    assert Path("data.dvc").stat() == before, "a run that changes nothing asks nothing of DVC"


def test_outside_of_a_repository_of_dvc_the_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match=r"not inside of a DVC repository.*: run this at the root"):
        download.pin(tmp_path / "data")
