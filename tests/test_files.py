"""Files and folders are written whole or not at all, and on the disk before they bear a name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinoflow.data import extraction
from kinoflow.system import files
from kinoflow.video import ClipSpec
from tests.media import moving_square, write_video


@pytest.fixture
def synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the disk was waited for, and what the file `target` or `target/x` held by then."""
    seen = []

    def note(where: str) -> None:
        target = tmp_path / "target"
        target = target / "x" if target.is_dir() else target
        seen.append((Path(where).name, target.read_text() if target.exists() else ""))

    def fsync(descriptor: int) -> None:
        note(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real_fsync(descriptor)

    def flush(folder: Path) -> None:
        note(str(folder))
        real_flush(folder)

    real_fsync, real_flush = os.fsync, files.flush
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(files, "flush", flush)
    return seen


def test_a_file_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, synced: list[tuple[str, str]]
) -> None:
    target = tmp_path / "target"
    files.write_text(target, "old")
    files.write_text(target, "new")
    (partial, before), (folder, after) = synced[-2:]
    assert (partial.startswith(files.TEMPORARY), before) == (True, "old")
    assert (folder, after) == (tmp_path.name, "new")


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path,
    synced: list[tuple[str, str]],
    exchange: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    for text in ("old", "new"):
        with files.replacing_folder(tmp_path / "target") as partial:
            (partial / "x").write_text(text)
    (name, before), (folder, after) = synced[-2:]
    assert (name.startswith(files.TEMPORARY), before) == (True, "old")
    assert (folder, after) == (tmp_path.name, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_failure_leaves_the_old_folder_alone(tmp_path: Path) -> None:
    with files.replacing_folder(tmp_path / "target") as partial:
        (partial / "x").write_text("old")
    with pytest.raises(FileNotFoundError), files.replacing_folder(tmp_path / "target") as partial:
        (partial / "missing" / "x").write_text("new")
    assert (tmp_path / "target" / "x").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_clips_do_not_wait_for_the_disk_one_by_one(
    tmp_path: Path, synced: list[tuple[str, str]]
) -> None:
    extraction.extract_clip(
        write_video(tmp_path / "x.avi", moving_square(4)), ClipSpec(4, 8, 8), tmp_path / "x.npy"
    )
    assert synced == []
    files.flush(tmp_path)
    assert len(synced) == 1


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


def test_equal_values_are_equal_bytes_and_are_read_again(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": "ä"}
    files.write_json(tmp_path / "one", value)
    files.write_json(tmp_path / "two", dict(value))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert files.read_json(tmp_path / "one") == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "one", {"a": float("nan")})
    assert files.read_json(tmp_path / "one") == value


def test_a_folders_md5_is_that_of_names_and_contents(tmp_path: Path) -> None:
    def md5(**contents: str) -> str:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        for name, text in contents.items():
            files.write_text(folder / name, text)
        return files.folder_md5(folder)

    assert md5(a="1", b="2") == md5(b="2", a="1")
    assert len({md5(a="1", b="2"), md5(a="2", b="1"), md5(a="1"), md5(a="1", c="2")}) == 4
