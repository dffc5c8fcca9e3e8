"""POST /feedback: an answer was wrong, it should be another."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kinoflow.system.errors import UserError
from kinoflow.video import sample
from serving import state
from serving.answering import Answering
from serving.answers import Answer
from serving.feedback import Feedback, Given
from serving.hosts import KnownHosts
from serving.refusals import Refusal
from serving.state import Database
from tests.asgi import Client

pytest_plugins = ["tests.api_fixtures"]


@pytest.fixture(scope="module")
def answer(answering: Answering, video: Path) -> dict[str, Any]:
    clip = sample(video, answering.bundle.clip)
    return answering.clip(clip, time.monotonic() + 60).model_dump()


def rows(feedback: Feedback, answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What is kept about an answer."""
    with sqlite3.connect(feedback.footage.parent / "feedback.sqlite") as database:
        return database.execute(
            "SELECT answer, given, proposed, bento, footage FROM feedback WHERE answer = ?",
            (answer["id"],),
        ).fetchall()


ODD = '<b>"é\u202e\n1e3'


def test_the_label_given_and_the_one_proposed_are_kept(
    ask: Client, feedback: Feedback, answer: dict[str, Any]
) -> None:
    for proposed in ("B", ODD):
        given = {"answer": answer["id"], "label": proposed}
        kept = ask("POST", "/feedback", json=given)
        assert kept.status_code == 201, kept.text
        said = kept.json()
        assert abs(said.pop("time") - time.time()) < 60
        assert said == {
            "answer": answer["id"],
            "given": answer["label"],
            "proposed": proposed,
            "bento": "0123",
            "footage": False,
        }
    # what was said last is what counts
    assert rows(feedback, answer) == [(answer["id"], answer["label"], ODD, "0123", None)]


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        ({"json": {"answer": "unknown", "label": "A"}}, 404, "no such answer"),
        ({"json": {"answer": "x"}}, 400, "label"),
        ({"json": {"answer": "x", "label": ""}}, 400, "label"),
        ({"json": {"answer": "x", "label": "a" * 201}}, 400, "label"),
        ({"json": {"answer": ["x"], "label": "A"}}, 400, "answer"),
        ({"json": {"answer": "x", "label": "A", "more": 1}}, 400, "more"),
        ({"content": b"\x80\x04]\x94."}, 400, "send {"),
        ({"content": b"{" * 70_000}, 413, "larger"),
        ({"data": {"answer": "x"}, "files": {"other": b"x"}}, 400, "send {"),
    ],
)
def test_what_is_wrong_with_feedback_is_told(
    ask: Client, request_: dict[str, Any], status: int, says: str
) -> None:
    refused = ask("POST", "/feedback", **request_)
    assert refused.status_code == status, refused.text
    assert says in refused.json()["error"]


def with_video(answer: dict[str, Any], label: str) -> dict[str, Any]:
    fields = {"answer": answer["id"], "label": label}
    return {"data": fields, "files": {"video": ("../x.avi", b"a video")}}


def test_footage_is_refused_unless_it_was_asked_for(
    ask: Client, feedback: Feedback, answer: dict[str, Any]
) -> None:
    refused = ask("POST", "/feedback", **with_video(answer, "C"))
    assert refused.status_code == 400
    assert "keeps no footage" in refused.json()["error"]
    assert not list(feedback.footage.iterdir())


@pytest.fixture
def keeping(answering: Answering) -> Iterator[None]:
    settings = answering.settings
    answering.settings = settings.model_copy(update={"keep_footage": True})
    yield
    answering.settings = settings


@pytest.mark.usefixtures("keeping")
def test_footage_that_was_asked_for_is_kept_once(
    ask: Client, feedback: Feedback, answer: dict[str, Any]
) -> None:
    for label in ("B", "C"):
        kept = ask("POST", "/feedback", **with_video(answer, label))
        assert kept.json()["footage"] is True, kept.text
    (path,) = feedback.footage.iterdir()
    assert path.read_bytes() == b"a video"
    ((*_, name),) = rows(feedback, answer)
    assert name == path.name
    # without the video: the old one says nothing about this feedback
    ask("POST", "/feedback", json={"answer": answer["id"], "label": "A"})
    assert not list(feedback.footage.iterdir())


def test_what_is_kept_is_bounded_and_outlives_the_service(
    answering: Answering, answer: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.feedback._ANSWERS", 3)
    monkeypatch.setattr("serving.feedback._FEEDBACK", 2)
    before = Feedback(tmp_path, 1000)
    for number in range(5):
        before.answered(Answer.model_validate(answer | {"id": str(number)}))
    (before.footage / "half").write_text("left by a kill")
    before.close()
    after = Feedback(tmp_path, 1000)
    assert not list(after.footage.iterdir())
    with pytest.raises(Refusal, match="older than the latest 3") as refusal:
        after.keep(Given(answer="1", label="A"))
    assert refusal.value.status == 404
    for number in (2, 3, 3):
        after.keep(Given(answer=str(number), label="A"))
    with pytest.raises(Refusal, match="no room") as refusal:
        after.keep(Given(answer="4", label="A"))
    assert refusal.value.status == 507


def test_two_services_do_not_share_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.state._WAIT_S", 0.2)
    lock = state.take(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    with pytest.raises(UserError, match="another service keeps its state in"):
        state.take(tmp_path / "a" / "b")
    os.close(lock)
    os.close(state.take(tmp_path / "a" / "b"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose another folder"):
        state.take(tmp_path / "file" / "a")


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_text("no database " * 100)
    with pytest.raises(UserError, match=r"x\.sqlite cannot be read"):
        Database(tmp_path / "x.sqlite", "", durable=False)


def test_pages_of_other_sites_change_nothing() -> None:
    asked = []

    async def application(scope: Any, _receive: Any, send: Any) -> None:
        asked.append(scope["method"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps({}).encode()})

    ask = Client(KnownHosts(application, names=()))
    for method in ("POST", "DELETE", "PUT", "GET"):
        ask(method, "/jobs/1", headers={"Sec-Fetch-Site": "cross-site"})
    assert asked == ["GET"]
