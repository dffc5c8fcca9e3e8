"""POST /explain and POST /preview: films that browsers play."""

import io
import time
from pathlib import Path
from urllib.parse import unquote

import av
import httpx
import numpy as np
import pytest
from starlette.datastructures import UploadFile

from kinoflow.explain import film
from kinoflow.explain.footage import footage
from kinoflow.explain.methods import Explainer
from kinoflow.video.decoder import sample
from serving.answering import Answering
from serving.explaining import Explaining
from serving.preview import Previews
from serving.refusals import Refusal
from serving.uploads import Upload
from tests.asgi import Client
from tests.children import nothing_runs
from tests.media import moving_square, write_video

pytest_plugins = ["tests.api_fixtures"]


def watched(answer: httpx.Response) -> np.ndarray:
    """The frames of a film, (T, H, W, 3)."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "video/mp4"
    assert len(answer.content) == int(answer.headers["content-length"])
    with av.open(io.BytesIO(answer.content), "r") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def upload(video: Path, seconds: float = 60) -> Upload:
    return Upload(UploadFile(io.BytesIO(video.read_bytes())), time.monotonic() + seconds)


# === Explanations ===


def test_an_explanation_is_the_film_of_the_command_line(
    ask: Client, answering: Answering, video: Path, tmp_path: Path
) -> None:
    answer = ask("POST", "/explain", files={"video": video.read_bytes()})
    shown = watched(answer)
    seen = footage(video, answering.bundle.clip)
    assert (seen.clip == sample(video, answering.bundle.clip)).all()
    expected = Explainer(answering.bundle).explain(seen.clip)
    film.write_film(
        tmp_path / "a.mp4",
        film.film(seen.frames, expected),
        film.rate(len(seen.frames), seen.seconds),
    )
    assert answer.headers["X-Kinoflow-Method"] == expected.method
    assert unquote(answer.headers["X-Kinoflow-Label"]) == answering.bundle.labels[expected.label]
    assert shown.shape[0] == answering.bundle.clip.frames
    with av.open(str(tmp_path / "a.mp4")) as container:
        written = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.abs(shown.astype(int) - np.stack(written)).mean() < 1
    assert nothing_runs()


def test_another_label_and_method_can_be_asked_for(
    ask: Client, answering: Answering, video: Path
) -> None:
    label = answering.bundle.labels[1]
    answer = ask(
        "POST",
        "/explain?method=occlusion",
        files={"video": video.read_bytes()},
        data={"label": label},
    )
    watched(answer)
    assert answer.headers["X-Kinoflow-Method"] == "occlusion"
    assert unquote(answer.headers["X-Kinoflow-Label"]) == label


@pytest.mark.parametrize(
    ("query", "label", "why"),
    [
        ("?method=shap", "", "no such method"),
        ("?method=x", "", "no such method"),
        ("?method=rollout", "", "no attention"),
        ("", "no label", "no such label"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    ask: Client, video: Path, query: str, label: str, why: str
) -> None:
    files = {"video": video.read_bytes()}
    answer = ask("POST", f"/explain{query}", files=files, data={"label": label})
    assert answer.status_code == 400
    assert why in answer.json()["error"]


def test_an_explanation_ends_with_its_time_and_lets_requests_in_between(
    answering: Answering, video: Path
) -> None:
    explaining = Explaining(answering)
    explaining.video(upload(video), None, None)
    with pytest.raises(Refusal) as late:
        explaining.video(upload(video, 0.05), None, None)
    assert late.value.status in (503, 504)
    # one after the other, and those that wait have an end
    assert explaining._free.acquire(1)
    with pytest.raises(Refusal) as busy:
        explaining.video(upload(video, 0.5), None, None)
    assert busy.value.status == 503
    explaining._free.release()
    # the model is nobody's in between
    assert answering.model_is_free.acquire(1, time.monotonic() + 5)
    answering.model_is_free.release()


# === Previews ===


def test_a_preview_shows_the_video_small(ask: Client, tmp_path: Path) -> None:
    slope = np.linspace(0, 255, 1300).astype(np.uint8)
    pictures = np.broadcast_to(slope[:, None], (25, 700, 1300, 3))
    large = write_video(tmp_path / "large.avi", pictures)
    answer = ask("POST", "/preview", files={"video": large.read_bytes()})
    shown = watched(answer)
    assert shown.shape == (25, 344, 640, 3)
    assert np.abs(np.diff(shown[12, 100, :, 0].astype(int))).max() < 5
    assert answer.headers["X-Kinoflow-Whole"] == "true"
    assert float(answer.headers["X-Kinoflow-Seconds"]) == pytest.approx(1.0, abs=0.05)
    assert nothing_runs()


def test_a_preview_of_a_small_video_keeps_its_size_and_pictures(ask: Client, video: Path) -> None:
    shown = watched(ask("POST", "/preview", files={"video": video.read_bytes()}))
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.abs(shown.astype(int) - np.stack(frames)).mean() < 12


def test_what_is_no_video_has_neither(ask: Client) -> None:
    for path in ("/preview", "/explain"):
        answer = ask("POST", path, files={"video": b"no video" * 100})
        assert answer.status_code == 400
        assert "cannot be read as a video" in answer.json()["error"]
        assert ask("POST", path, content=b"no form").status_code == 400


def test_a_preview_ends_with_its_time(answering: Answering, video: Path, tmp_path: Path) -> None:
    long = write_video(tmp_path / "long.avi", moving_square(800, 320, 240))
    previews = Previews(answering)
    # the process that decodes has started
    previews.video(upload(video)).file.close()
    begun = time.monotonic()
    preview = previews.video(upload(long, 2.3))
    with preview.file:
        assert time.monotonic() - begun < 2.3
        assert not preview.made.whole
        with av.open(preview.file, "r") as container:
            found = len([*container.decode(video=0)])
    assert 0 < found < 800
