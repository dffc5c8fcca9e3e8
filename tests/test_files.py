import os
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
