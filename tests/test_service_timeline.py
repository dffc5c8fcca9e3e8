"""POST /predict: the timeline of a video that is long, but not too long."""

import time
from io import BytesIO
from pathlib import Path

import pytest
from starlette.datastructures import UploadFile

from kinoflow.timeline import timeline
from serving.answering import Answering
from serving.answers import Answer
from serving.uploads import Upload
from tests.api_fixtures import never_free
from tests.children import nothing_runs
from tests.media import moving_square, write_video

pytest_plugins = ["tests.api_fixtures"]

WINDOW = 0.48  # seconds, of the card; the videos have 25 frames per second


def predict(answering: Answering, video: bytes, seconds: float = 60) -> Answer:
    return answering.video(Upload(UploadFile(BytesIO(video)), time.monotonic() + seconds))


def made(folder: Path, frames: int) -> bytes:
    return write_video(folder / f"{frames}.avi", moving_square(frames)).read_bytes()


def test_a_video_of_two_windows_has_a_timeline_and_a_shorter_one_has_none(
    answering: Answering, tmp_path: Path
) -> None:
    short = predict(answering, made(tmp_path, 23))
    assert (short.seconds, short.timeline, short.hint) == (0.92, None, None)
    long = predict(answering, made(tmp_path, 24))
    assert long.timeline is not None
    assert (long.seconds, long.timeline.seconds, long.hint) == (0.96, 0.96, None)
    assert len(long.timeline.moments) == len(
        timeline(tmp_path / "24.avi", answering.bundle, 0.48).moments
    )
    assert nothing_runs()


def test_a_video_of_too_many_windows_is_sent_to_the_jobs(
    answering: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering.courses, "_most", 9)
    # one window every quarter of one: 9 in three of them
    (at_most, more) = (predict(answering, made(tmp_path, frames)) for frames in (36, 39))
    assert at_most.timeline is not None
    assert len(at_most.timeline.moments) == 9
    assert (more.timeline, more.seconds) == (None, 1.56)
    assert "/jobs" in (more.hint or "")
    assert more.label


def test_a_video_longer_than_its_header_says_has_no_endless_timeline(
    answering: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, 100)
    course = answering.courses.of(tmp_path / "100.avi", 1.0, time.monotonic() + 60)
    assert course.timeline is not None
    monkeypatch.setattr(answering.courses, "_most", 9)
    course = answering.courses.of(tmp_path / "100.avi", 1.0, time.monotonic() + 60)
    assert course.timeline is None
    assert "/jobs" in (course.hint or "")
    assert nothing_runs()
    # and one that ends before has none, as a short one
    course = answering.courses.of(tmp_path / "100.avi", 99.0, time.monotonic() + 60)
    assert "/jobs" in (course.hint or "")
    made(tmp_path, 10)
    course = answering.courses.of(tmp_path / "10.avi", 1.0, time.monotonic() + 60)
    assert (course.seconds, course.timeline, course.hint) == (0.4, None, None)


def test_a_timeline_that_takes_too_long_does_not_cost_the_answer(
    answering: Answering, tmp_path: Path
) -> None:
    made(tmp_path, 100)
    with never_free(answering):
        begun = time.monotonic()
        course = answering.courses.of(tmp_path / "100.avi", 4.0, begun + 1)
        assert time.monotonic() - begun < 3
    assert course.timeline is None
    assert "/jobs" in (course.hint or "")
    assert (answering.streams, nothing_runs()) == (0, True)


def test_the_length_of_a_video_whose_header_has_none_is_found(
    answering: Answering, tmp_path: Path
) -> None:
    # as browsers record: the file is written while its length is not known
    import av

    path = tmp_path / "live.webm"
    with path.open("wb") as file, av.open(Unseekable(file), "w", format="webm") as out:
        stream = out.add_stream("libvpx", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in moving_square(50):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    with av.open(str(path)) as container:
        assert not container.duration
    answer = predict(answering, path.read_bytes())
    assert answer.seconds == pytest.approx(2.0, abs=0.05)
    assert answer.timeline is not None


class Unseekable:
    """A file that can only be appended to."""

    def __init__(self, file: object) -> None:
        self.write = file.write  # type: ignore[attr-defined]
