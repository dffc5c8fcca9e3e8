"""What the service answers over HTTP."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kinoflow import bentos, bundle
from kinoflow.video import ClipSpec, sample
from kinoflow.workspace import Workspace
from serving.privacy import HEADERS
from tests.bento import SERVING, Server

pytest_plugins = ["tests.bento_fixtures"]


@pytest.fixture(scope="module")
def answers(project: Path) -> pd.DataFrame:
    """What evaluation recorded of the bundle, by video."""
    return pd.read_csv(Workspace(project).answers("voting"), index_col="video")


@pytest.fixture
def video(project: Path, answers: pd.DataFrame) -> Path:
    return project / Workspace().data / str(answers.index[0])


def agrees(answer: httpx.Response, expected: pd.Series) -> bool:
    assert answer.status_code == 200, answer.text
    probabilities = answer.json()["probabilities"]
    return all(abs(p - expected[f"p_{label}"]) < 1e-5 for label, p in probabilities.items())


def refused(answer: httpx.Response, status: int = 400) -> str:
    """The sentence of a refusal."""
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    return str(answer.json()["error"])


def test_an_answer_holds_what_evaluation_recorded(
    server: Server, bento: Path, project: Path, answers: pd.DataFrame
) -> None:
    labels = bundle.load(Workspace(project).bundle("voting")).labels
    for video, expected in answers.iterrows():
        response = server.post(Workspace(project).data / str(video))
        assert agrees(response, expected)
        answer = response.json()
        assert tuple(answer["probabilities"]) == labels
        assert answer["label"] == expected["predicted"]
        assert answer["confidence"] == max(answer["probabilities"].values())
        assert len(answer["top"]) == SERVING["top_k"]
        assert answer["top"][0] == {"label": answer["label"], "confidence": answer["confidence"]}
        assert answer["milliseconds"].keys() == {"decode", "inference"}
        assert min(answer["milliseconds"].values()) > 0
        assert answer["model"]["candidate"] == "voting"
        assert answer["model"]["bento"] == bentos.version(bento)
        assert answer["model"]["device"]


def test_a_clip_as_an_array_is_answered_as_its_video(
    server: Server, video: Path, answers: pd.DataFrame
) -> None:
    file = io.BytesIO()
    np.save(file, sample(video, ClipSpec(4, 16, 16)))
    answer = httpx.post(f"{server.url}/predict_clip", content=file.getvalue(), trust_env=False)
    assert agrees(answer, answers.iloc[0])


@pytest.mark.parametrize("content_type", ["application/octet-stream", "video/mp4", "text/plain"])
def test_the_content_type_does_not_matter(
    server: Server, video: Path, answers: pd.DataFrame, content_type: str
) -> None:
    form = {"video": ("clip.avi", video.read_bytes(), content_type)}
    assert agrees(server.predict(files=form), answers.iloc[0])


@pytest.mark.parametrize("name", ["../../evil.avi", "/evil.avi", "evil\0.avi", "e" * 300, "%s%03d"])
def test_a_hostile_file_name_is_harmless(
    server: Server, video: Path, answers: pd.DataFrame, name: str
) -> None:
    response = server.predict(files={"video": (name, video.read_bytes())})
    assert agrees(response, answers.iloc[0])
    assert not list(server.temporary.parent.rglob("*evil*"))


@pytest.mark.parametrize("content_type", ["text/plain", "video/x-msvideo"])
def test_a_text_is_no_video(server: Server, content_type: str) -> None:
    form = {"video": ("clip.avi", b"not a video\n" * 100, content_type)}
    assert "cannot be read as a video" in refused(server.predict(files=form))


def test_a_playlist_opens_no_other_file(server: Server, video: Path) -> None:
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{video}\n#EXT-X-ENDLIST\n"
    form = {"video": ("list.m3u8", playlist.encode(), "application/vnd.apple.mpegurl")}
    assert "cannot be read as a video" in refused(server.predict(files=form))


def test_an_empty_file_is_named_as_such(server: Server) -> None:
    assert "the file is empty" in refused(server.predict(files={"video": ("clip.avi", b"")}))


def test_an_upload_that_would_eat_the_memory_is_refused(server: Server, video: Path) -> None:
    side = (14000).to_bytes(2, "little") * 2
    picture = b"\x2c" + bytes(4) + side + b"\x00\x02\x02\x4c\x01\x00"
    bomb = b"GIF89a" + side + b"\x80\x00\x00" + bytes(6) + picture + b";"
    answer = server.predict(files={"video": ("clip.gif", bomb)})
    assert answer.status_code == 413
    assert "196.0 megapixels, and the limit here is 36" in answer.json()["error"]
    assert server.predict(files={"video": video.read_bytes()}).status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"files": {"film": ("clip.avi", b"x")}},
        {"files": [("video", ("a.avi", b"x")), ("video", ("b.avi", b"x"))]},
        {"data": {"video": "clip.avi"}},
        {"data": {"video": "http://127.0.0.1/clip.avi"}, "files": {"other": b"x"}},
        {"json": {"video": "clip.avi"}},
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
    ],
    ids=["nothing", "other field", "two", "text", "URL", "JSON", "no boundary"],
)
def test_a_request_without_video_is_told_how(server: Server, request_: dict[str, object]) -> None:
    assert "curl -F video=@" in refused(server.predict(**request_))


@pytest.mark.parametrize("announced", [True, False])
def test_too_large_an_upload_is_refused(server: Server, announced: bool) -> None:
    form = {"video": ("clip.avi", bytes(3_000_000))}
    request = httpx.Request("POST", server.url, files=form)
    body = request.read()
    content = body if announced else iter([body])
    answer = server.predict(
        content=content, headers={"Content-Type": request.headers["Content-Type"]}
    )
    assert "larger than 1 MB" in refused(answer, 413)


def test_a_truncated_video_is_answered_or_refused(server: Server, video: Path) -> None:
    whole = video.read_bytes()
    for part in (0.9, 0.5, 0.1):
        cut = whole[: int(part * len(whole))]
        answer = server.predict(files={"video": ("clip.avi", cut)})
        assert answer.status_code == 200 or refused(answer)


def test_requests_at_once_are_all_answered_right(
    server: Server, project: Path, answers: pd.DataFrame
) -> None:
    videos = list(answers.index) * 4
    with ThreadPoolExecutor(SERVING["max_concurrency"]) as pool:
        responses = pool.map(lambda video: server.post(Workspace(project).data / video), videos)
        for video, response in zip(videos, responses, strict=True):
            assert agrees(response, answers.loc[video])


def counted(server: Server) -> dict[str, float]:
    """What /metrics says, without the series of single buckets."""
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    return {
        f"{sample.name}{''.join(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name.startswith("kinoflow_") and "le" not in sample.labels
    }


def test_it_counts_answers_waits_and_refusals(
    server: Server, video: Path, answers: pd.DataFrame
) -> None:
    before = counted(server)
    assert server.post(video).status_code == 200
    clip = httpx.post(
        f"{server.url}/predict_clip", content=bytes(4 * 16 * 16 * 3), trust_env=False
    ).json()
    refused(server.predict(files={"video": ("clip.avi", b"no video")}))
    refused(server.predict(files={"video": ("clip.avi", bytes(3_000_000))}), 413)
    refused(server.predict(headers={"Host": "evil.example"}), 421)
    after = counted(server)
    more = {name: value - before.get(name, 0) for name, value in after.items()}
    label = answers.iloc[0]["predicted"]
    assert sum(more[f"kinoflow_answers_total{name}"] for name in {label, clip["label"]}) == 2
    assert more["kinoflow_confidence_count"] == 2
    assert more["kinoflow_decode_seconds_count"] == 1
    assert more["kinoflow_inference_seconds_count"] == 2
    assert more["kinoflow_queue_seconds_countdecoder"] == 1
    assert more["kinoflow_queue_seconds_countmodel"] == 2
    assert more["kinoflow_inference_seconds_sum"] > 0
    for reason in ("unreadable", "too large", "unknown host"):
        assert more[f"kinoflow_refusals_total{reason}"] == 1, reason


def test_paths_that_anybody_may_ask_for_are_not_counted_one_by_one(server: Server) -> None:
    for path in ("/jobs/somebodys-own", "/somebodys-own", "/somebodys/own"):
        assert httpx.get(f"{server.url}{path}", trust_env=False).status_code == 404
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    assert 'endpoint="/jobs/{id}"' in text
    assert 'endpoint="/unknown"' in text
    assert "somebodys" not in text


def test_uploads_leave_nothing_behind(server: Server, video: Path) -> None:
    assert server.post(video).status_code == 200
    assert not list(server.temporary.rglob("kinoflow-upload-*"))


@pytest.mark.parametrize("path", ["/", "/livez", "/docs.json", "/metrics", "/nothing"])
def test_every_answer_keeps_other_sites_out(server: Server, path: str) -> None:
    answer = httpx.get(f"{server.url}{path}", trust_env=False)
    assert HEADERS.items() <= dict(answer.headers).items()
