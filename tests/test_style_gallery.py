"""The gallery of repainted films."""

from pathlib import Path

import pytest

from kinoflow.workspace import Workspace
from stages import style_gallery
from tests import pages
from tests.conftest import RunStage


def test_films_of_a_clip_stand_together_and_the_one_before_comes_first(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / ".kept").mkdir()
    names = ("a.waves", "b", "a.truth", "a.before", "a.fast", "a.b.before", ".a.unfinished")
    for name in (*names, "below/a.before", "below/a.x", ".kept/c.before"):
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    (tmp_path / "notes.txt").write_text("no film")
    found = style_gallery.grouped(tmp_path)
    ways = {clip: [way for way, _ in versions] for clip, versions in found.items()}
    assert ways == {
        "a": ["before", "fast", "waves", "truth"],
        "a.b": ["before"],
        "b": [""],
        "below/a": ["before", "x"],
    }


def test_the_page_is_one_file_in_which_no_name_does_harm(
    tmp_path: Path, run_stage: RunStage
) -> None:
    folder = tmp_path / "reports" / "style"
    folder.mkdir(parents=True)
    hostile = [name.replace("/", "∕") for name in pages.HOSTILE]
    for name in hostile:
        (folder / f"{name}.before.mp4").write_bytes(b"film")
        (folder / f"{name}.waves.mp4").write_bytes(b"another film")
    done = run_stage(tmp_path, "style_gallery")
    assert (done.returncode, done.stderr) == (0, "")
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert pages.faults(text) == []
    shown = pages.shown(text)
    assert f"{len(hostile)} clips, before and after" in shown
    assert all(name in shown for name in hostile)
    assert text.count("<video") == 2 * len(hostile)


def test_the_page_leads_back_to_that_of_the_run_if_there_is_one(
    tmp_path: Path, run_stage: RunStage
) -> None:
    workspace = Workspace(tmp_path)
    folder = workspace.reports / "style"
    folder.mkdir(parents=True)
    (folder / "a.before.mp4").write_bytes(b"film")
    run_stage(tmp_path, "style_gallery")
    assert "../index.html" not in (folder / "index.html").read_text(encoding="utf-8")
    workspace.page.write_text("the page of a run")
    run_stage(tmp_path, "style_gallery")
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert '<a href="../index.html">' in text
    assert pages.faults(text) == []


def test_a_page_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style_gallery, "_MOST", 10)
    for clip in "abc":
        (tmp_path / f"{clip}.before.mp4").write_bytes(b"12345")
    text = style_gallery.render(tmp_path, report=False)
    assert text.count("<video") == 2
    assert "1 more" in text


def test_without_films_it_is_told_how_to_make_some(tmp_path: Path, run_stage: RunStage) -> None:
    done = run_stage(tmp_path, "style_gallery")
    assert done.returncode == 2
    assert "holds no films: `make style`" in done.stderr
    assert len(done.stderr.splitlines()) == 1
