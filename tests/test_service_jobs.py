"""Jobs: long videos are answered later, with a timeline."""

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinoflow.timeline import timeline
from kinoflow.video import sample
from serving.answering import Answering
from serving.jobs import Jobs
from serving.refusals import Refusal
from serving.working import Working
from tests.api_fixtures import never_free
from tests.asgi import Client
from tests.attack.video_bombs import burning_gif
from tests.children import nothing_runs
from tests.media import moving_square, write_video

pytest_plugins = ["tests.api_fixtures"]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of four seconds."""
    return write_video(tmp_path_factory.mktemp("long") / "long.avi", moving_square(100))


def submit(ask: Client, video: bytes, query: str = "") -> dict[str, Any]:
    answer = ask("POST", f"/jobs{query}", files={"video": ("a.avi", video)})
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    return job


def until(ask: Client, name: str, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The job, once it is as wanted."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        job: dict[str, Any] = ask("GET", f"/jobs/{name}").json()
        if done(job):
            return job
        time.sleep(0.02)
    raise AssertionError(job)


def ended(job: dict[str, Any]) -> bool:
    return job["state"] in {"done", "failed", "cancelled"}


def test_a_job_answers_with_a_timeline_of_what_the_bundle_answers(
    ask: Client, working: Working, answering: Answering, long: Path, tmp_path: Path
) -> None:
    working.start()
    submitted = submit(ask, long.read_bytes(), "?window=0.48")
    assert submitted["state"] in {"queued", "running"}
    job = until(ask, submitted["id"], ended)
    assert (job["state"], job["progress"], job["bento"]) == ("done", 1, "0123"), job["error"]
    assert job["created"] <= job["started"] <= job["finished"]
    # what the command line answers without a server
    expected = timeline(long, answering.bundle, 0.48)
    assert len(expected.moments) > 20
    said, document = job["result"], expected.document()
    probabilities = np.array([moment.pop("probabilities") for moment in said["moments"]])
    assert np.abs(probabilities - expected.probabilities).max() < 1e-5
    for moment in document["moments"]:
        del moment["probabilities"]
    for segment in [*said["segments"], *document["segments"]]:
        segment["probability"] = round(segment["probability"], 4)
    assert said == document
    assert not list((tmp_path / "uploads").iterdir())
    assert nothing_runs()


def test_a_video_shorter_than_a_window_is_answered_as_a_whole(
    ask: Client, working: Working, answering: Answering, video: Path
) -> None:
    working.start()
    job = until(ask, submit(ask, video.read_bytes(), "?window=60")["id"], ended)
    (moment,) = job["result"]["moments"]
    expected = answering.bundle.predict(sample(video, answering.bundle.clip)[None])[0]
    assert np.abs(np.array(moment["probabilities"]) - expected).max() < 1e-5


def test_jobs_are_listed_the_newest_first_without_results(
    ask: Client, working: Working, video: Path, long: Path
) -> None:
    assert ask("GET", "/jobs").json() == {"jobs": []}
    names = [submit(ask, each.read_bytes())["id"] for each in (video, long)]
    working.start()
    assert until(ask, names[1], ended)["result"] is not None
    listed = ask("GET", "/jobs").json()["jobs"]
    assert [job["id"] for job in listed] == names[::-1]
    assert [(job["state"], job["result"]) for job in listed] == [("done", None)] * 2


def warm(ask: Client, video: Path) -> None:
    """Have the process that decodes start: that takes seconds, and is no part of a job."""
    until(ask, submit(ask, video.read_bytes())["id"], ended)


def test_a_job_is_cancelled_at_once_and_the_next_one_follows(
    ask: Client, working: Working, answering: Answering, video: Path, long: Path, tmp_path: Path
) -> None:
    working.start()
    warm(ask, video)
    with never_free(answering):
        first, second = (submit(ask, long.read_bytes())["id"] for _ in range(2))
        until(ask, first, lambda job: job["state"] == "running")
        while not answering.streams:
            time.sleep(0.01)
        begun = time.monotonic()
        assert ask("DELETE", f"/jobs/{first}").json()["state"] == "cancelled"
        assert ask("GET", f"/jobs/{first}").json()["state"] == "cancelled"
        assert nothing_runs()
        assert time.monotonic() - begun < 2
        assert [path.name for path in (tmp_path / "uploads").iterdir()] == [second]
    assert until(ask, second, ended)["state"] == "done"
    cancelled = ask("GET", f"/jobs/{first}").json()
    assert (cancelled["state"], cancelled["result"]) == ("cancelled", None)
    # one that has ended is forgotten
    assert ask("DELETE", f"/jobs/{second}").json()["state"] == "done"
    assert ask("GET", f"/jobs/{second}").status_code == 404


def test_a_job_whose_decoder_hangs_is_cancelled_as_well(
    ask: Client, working: Working, video: Path
) -> None:
    working.start()
    warm(ask, video)
    name = submit(ask, burning_gif())["id"]
    deadline = time.monotonic() + 30
    # it is at work
    while nothing_runs() and time.monotonic() < deadline:
        pass
    begun = time.monotonic()
    assert ask("DELETE", f"/jobs/{name}").json()["state"] == "cancelled"
    while not nothing_runs():
        assert time.monotonic() - begun < 2
    assert ask("GET", f"/jobs/{name}").json()["state"] == "cancelled"


def test_a_job_that_is_not_running_yet_is_cancelled(
    ask: Client, working: Working, video: Path
) -> None:
    name = submit(ask, video.read_bytes())["id"]
    assert ask("DELETE", f"/jobs/{name}").json()["state"] == "cancelled"
    working.start()
    other = submit(ask, video.read_bytes())["id"]
    assert until(ask, other, ended)["state"] == "done"
    assert ask("GET", f"/jobs/{name}").json()["state"] == "cancelled"


def test_what_is_no_video_or_claims_too_much_is_refused_at_once(
    ask: Client, answering: Answering, monkeypatch: pytest.MonkeyPatch, long: Path, tmp_path: Path
) -> None:
    refused = ask("POST", "/jobs", files={"video": b"no video" * 100})
    assert refused.status_code == 400
    assert "cannot be read as a video: it is no video" in refused.json()["error"]
    shorter = answering.settings.model_copy(update={"max_seconds": 3.0})
    monkeypatch.setattr(answering, "settings", shorter)
    refused = ask("POST", "/jobs", files={"video": long.read_bytes()})
    assert (refused.status_code, refused.json()["error"]) == (
        413,
        "the video is longer than 3 s, the limit here",
    )
    assert not [*(tmp_path / "uploads").iterdir()]
    assert ask("GET", "/jobs").json() == {"jobs": []}


def test_what_turns_out_to_be_no_video_fails_with_the_reason(
    ask: Client, working: Working, jobs: Jobs, tmp_path: Path
) -> None:
    path = tmp_path / "no video"
    path.write_bytes(b"no video" * 100)
    with path.open("rb") as file:
        name = jobs.accept(file, 1.0).id
    working.start()
    job = until(ask, name, ended)
    assert job["state"] == "failed"
    assert "cannot be read as a video: it is no video" in job["error"]


@pytest.mark.parametrize("window", ["0", "nan", "inf", "-1", "x", "1e9"])
def test_a_window_must_have_a_length(ask: Client, video: Path, window: str) -> None:
    answer = ask("POST", f"/jobs?window={window}", files={"video": video.read_bytes()})
    assert answer.status_code == 400
    assert "window must be a number" in answer.json()["error"]


def test_jobs_are_bounded(ask: Client, video: Path, tmp_path: Path) -> None:
    assert ask("POST", "/jobs", content=b"no form").status_code == 400
    small = video.read_bytes()
    large = small + bytes(600_000)
    submit(ask, large)
    full = ask("POST", "/jobs", files={"video": large})
    assert (full.status_code, full.headers["Retry-After"]) == (503, "1")
    assert len(list((tmp_path / "uploads").iterdir())) == 1
    for _ in range(2):
        submit(ask, small)
    many = ask("POST", "/jobs", files={"video": small})
    assert many.status_code == 429
    assert ask("GET", "/jobs/unknown").status_code == 404
    assert ask("DELETE", "/jobs/unknown").status_code == 404


def test_a_service_that_ends_takes_its_job_up_again(
    ask: Client, working: Working, jobs: Jobs, answering: Answering, long: Path
) -> None:
    working.start()
    with never_free(answering) as free:
        name = submit(ask, long.read_bytes())["id"]
        until(ask, name, lambda job: job["state"] == "running")
        while not answering.streams:
            time.sleep(0.01)
        # the model is free only after the service was told to end
        threading.Timer(0.5, free).start()
        working.stop()
    assert jobs.get(name).state == "queued"
    again = Working(jobs, answering, 60)
    again.start()
    try:
        assert until(ask, name, ended)["state"] == "done"
    finally:
        again.stop()


def test_a_job_that_another_process_cancels_ends_at_once(
    ask: Client, working: Working, answering: Answering, video: Path, tmp_path: Path
) -> None:
    working.start()
    warm(ask, video)
    # as a process that leaves the work to this one, but still has clients
    other = Jobs(tmp_path, most=3, most_bytes=10_000_000, keep_s=3600)
    # takes many seconds
    with write_video(tmp_path / "longer.avi", moving_square(2000)).open("rb") as file:
        name = other.accept(file, 0.04).id
    job = until(ask, name, lambda job: job["state"] == "running" and job["progress"] > 0)
    assert job["progress"] < 0.5
    begun = time.monotonic()
    assert other.cancel(name).state == "cancelled"
    while answering.streams:
        assert time.monotonic() - begun < 2
        time.sleep(0.01)
    assert nothing_runs()
    assert other.get(name).result is None
    other.close()


def opened(folder: Path, **options: Any) -> Jobs:
    jobs = Jobs(folder, **{"most": 9, "most_bytes": 10_000_000, "keep_s": 3600} | options)
    jobs.take_up()
    return jobs


def test_a_killed_service_loses_no_job_and_gives_up_on_one_that_kills_it(
    tmp_path: Path, video: Path
) -> None:
    before = opened(tmp_path)
    names = []
    for _ in range(3):
        with video.open("rb") as file:
            names.append(before.accept(file, 1.0).id)
    (tmp_path / "uploads" / ".partial-1-x").touch()  # of a request that was never answered
    claimed = []
    for _ in range(4):
        claim = before.claim()
        assert claim is not None
        claimed.append(claim.id)
        # as after a kill: nothing was written
        before = opened(tmp_path)
        assert {path.name for path in (tmp_path / "uploads").iterdir()} >= {*names[1:]}
    assert claimed == [names[0]] * 3 + [names[1]]
    failed = before.get(names[0])
    assert failed.state == "failed"
    assert "died 3 times" in (failed.error or "")
    assert {path.name for path in (tmp_path / "uploads").iterdir()} == {*names[1:]}


def test_results_are_swept_by_age_and_by_size(tmp_path: Path, video: Path) -> None:
    jobs = opened(tmp_path, most_bytes=60_000)
    result = {"labels": [], "window_seconds": 1, "seconds": 1, "segments": [], "moments": []}

    def done(**more: Any) -> str:
        with video.open("rb") as file:
            name = jobs.accept(file, 1.0).id
        assert jobs.claim() is not None
        jobs.finish(name, result | more, "0123")
        return name

    old, *_, last = [done(labels=["x" * 25_000]) for _ in range(3)]
    with pytest.raises(Refusal):
        jobs.get(old)
    assert jobs.get(last).result is not None
    with sqlite3.connect(tmp_path / "jobs.sqlite") as database:
        database.execute("UPDATE jobs SET finished = finished - 3601")
    kept = done()
    with pytest.raises(Refusal):
        jobs.get(last)
    assert jobs.get(kept).state == "done"
    # a result is not replaced
    jobs.finish(kept, result | {"seconds": 2}, "4567")
    assert jobs.get(kept).bento == "0123"
