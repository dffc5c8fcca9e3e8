"""Corrected answers that the service itself kept, on their way into a labelled folder."""

import csv
from pathlib import Path

import pytest

from flows import feedback, review
from kinoflow import config
from kinoflow.config import Dataset
from kinoflow.monitor.feedback import FOOTAGE
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from serving.answers import Answer, Milliseconds, Model
from serving.feedback import Feedback, Given
from stages.sources import folder as source
from tests import pages
from tests.conftest import ROOT
from tests.media import footage, moving_square, write_video

HOSTILE = '=HYPERLINK("//x")<script>\n../"é\u202e'


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Feedback with four videos, two the same and one that is none, and one without a video."""
    monkeypatch.delenv("KINOFLOW_STATE", raising=False)
    monkeypatch.chdir(tmp_path)
    Workspace().params.write_bytes(Workspace(ROOT).params.read_bytes())
    state = tmp_path / ".serving"
    state.mkdir(mode=0o700)
    kept = Feedback(state, 10**8)
    for number, label in enumerate(["B", "B", HOSTILE, "C", "D"]):
        kept.answered(
            Answer(
                id=f"id{number}",
                label="A",
                confidence=0.75,
                top=[],
                probabilities={},
                milliseconds=Milliseconds(decode=0, inference=0),
                model=Model(candidate="lrcn", bento="v1", device="cpu:0"),
            )
        )
        video = tmp_path / "sent" / f"{number}.avi"
        write_video(video, moving_square(12, seed=max(1, number)))  # 0 and 1 are equal
        if number == 3:
            video.write_bytes(b"no video")
        with video.open("rb") as sent:
            kept.keep(Given(answer=f"id{number}", label=label), None if number == 4 else sent)
    kept.close()
    return Workspace()


def rows() -> list[dict[str, str]]:
    with (Workspace().review / review.REVIEW).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def decide(**columns: list[str]) -> None:
    """Write a column of review.csv as a reviewer's spreadsheet would."""
    table = rows()
    for name, values in columns.items():
        for row, value in zip(table, values, strict=True):
            row[name] = value
    with (Workspace().review / review.REVIEW).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def offer() -> int:
    return review.offer(Workspace(), config.load(Workspace().params))


def test_reviewed_videos_alone_become_labelled_ones_each_once(workspace: Workspace) -> None:
    assert offer() == 3
    table = rows()
    assert [row["keep"] for row in table] == ["", "", ""]
    assert [row["proposed"] for row in table] == ["B", f"'{HOSTILE}", "C"]
    assert table[0]["video"].endswith(".avi")
    assert workspace.review.stat().st_mode & 0o077 == 0
    text = (workspace.review / "index.html").read_text()
    assert pages.faults(text) == []
    assert text.count("data:image/jpeg") == 2
    assert text.count("does not decode") == 1

    # unseen, nothing is taken
    mine = Path("mine")
    assert review.accept(workspace, mine) == []
    assert not mine.exists()

    decide(keep=["yes", "no", ""], label=["Bee", "", "C"])
    # another look changes nothing of what was decided, and forgets what the service has forgotten
    for path in (workspace.root / ".serving" / FOOTAGE).iterdir():
        if path.read_bytes() == b"no video":
            path.unlink()
    assert offer() == 2
    assert [row["keep"] for row in rows()] == ["yes", "no"]
    assert len([*workspace.review.iterdir()]) == 4

    [added] = review.accept(workspace, mine)
    assert review.accept(workspace, mine) == []
    items = source.items(Dataset(source="folder", path=str(mine)), 7, Path())
    assert [item.name for item in items] == [added, "labels.csv"]
    labels = (mine / "labels.csv").read_text()
    assert labels == f"video,label,group\n{added},Bee,{rows()[0]['group']}\n"
    assert files.md5(mine / added) == Path(added).stem
    [noted] = csv.DictReader((mine / review.PROVENANCE).open(newline=""))
    assert (noted["video"], noted["given"], noted["proposed"], noted["bento"]) == (
        *(added, "A", "B", "v1"),
    )


def test_class_folders_get_videos_of_classes_that_they_have(workspace: Workspace) -> None:
    mine = footage(Path("mine"), groups=1, clips=1)
    before = {path.relative_to(mine) for path in mine.rglob("*.*")}
    offer()
    decide(keep=["yes", "yes", ""])
    with pytest.raises(UserError, match="no class folder"):
        review.accept(workspace, mine)
    assert {path.relative_to(mine) for path in mine.rglob("*.*")} == before
    decide(label=["B", "A", ""])
    first, second = review.accept(workspace, mine)
    assert first.startswith("B/feedback-")
    assert second.startswith("A/feedback-")
    assert not (mine / "labels.csv").exists()
    items = source.items(Dataset(source="folder", path=str(mine)), 7, Path())
    assert len(items) == len(before) + 2
    assert review.accept(workspace, mine) == []


def test_mistakes_of_the_reviewer_are_one_line(workspace: Workspace) -> None:
    with pytest.raises(UserError, match="--review` makes it"):
        review.accept(workspace, Path("mine"))
    offer()
    decide(keep=["perhaps", "", ""])
    with pytest.raises(UserError, match="keep is perhaps"):
        review.accept(workspace, Path("mine"))
    decide(keep=["", "yes", ""])
    with pytest.raises(UserError, match="control character"):
        review.accept(workspace, Path("mine"))
    with pytest.raises(UserError, match="stages.download"):
        review.accept(workspace, workspace.data)
    decide(keep=["yes", "", ""])
    (workspace.review / rows()[0]["video"]).unlink()
    with pytest.raises(UserError, match="not there"):
        review.accept(workspace, Path("mine"))
    (workspace.review / review.REVIEW).write_text("keep\nyes\n")
    with pytest.raises(UserError, match="no column label"):
        offer()


def test_summary_says_how_often_answers_were_wrong(workspace: Workspace) -> None:
    text = feedback.summary(workspace, config.load(workspace.params))
    assert "5 of the newest 5 answers were marked as wrong: 100.0%" in text
    assert "5 corrections in all, 4 with their video" in text
