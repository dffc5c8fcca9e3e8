"""GET /live: the frames of a camera, as a websocket takes them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from kinoflow import live as library
from kinoflow.video.live import timed
from serving import jpegs, routes
from serving import live as serving_live
from serving.answering import Answering
from serving.hosts import KnownHosts
from serving.live import Live
from serving.refusals import Refusal
from tests.media import moving_square, write_video

pytest_plugins = ["tests.api_fixtures"]


@pytest.fixture
def application(answering: Answering) -> Starlette:
    made = routes.application()
    made.state.answering, made.state.live = answering, Live(answering)
    return made


@pytest.fixture
def client(application: Starlette) -> Iterator[TestClient]:
    with TestClient(application) as client:
        yield client


def picture(width: int = 64, height: int = 48) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))[1])


def begin(socket: Any, **hello: Any) -> dict[str, Any]:
    socket.send_json({"key": None} | hello)
    ready: dict[str, Any] = socket.receive_json()
    return ready


def packets(video: Path) -> list[bytes]:
    """The JPEG files that a video in Motion JPEG is made of."""
    with av.open(str(video)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_answers_are_those_of_the_command_line(
    client: TestClient, answering: Answering, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "long.avi", moving_square(50))
    window = answering.courses.window
    following = library.Answering(answering.bundle, window)
    smooth = library.Smoothing(window / 2)
    answered = 0
    with client.websocket_connect("/live") as socket:
        assert begin(socket) == {
            "ready": True,
            "labels": ["A", "B", "C"],
            "window_seconds": window,
            "bento": "0123",
        }
        for (shown, frame), jpeg in zip(timed(video), packets(video), strict=True):
            expected = smooth(following.add(shown, frame))
            # a recorded source may begin at any time
            socket.send_json({"time": 7 + shown})
            socket.send_bytes(jpeg)
            said = socket.receive_json()
            assert said["new"] == bool(expected)
            assert said["time"] == pytest.approx(7 + shown)
            assert said["latency_ms"] > 0
            if smooth.label is None:
                assert (said["label"], said["probabilities"], said["top"]) == (None, None, [])
                continue
            assert said["label"] == answering.bundle.labels[smooth.label]
            assert said["probability"] == pytest.approx(smooth.probability, abs=1e-5)
            if expected:
                answered += 1
                last = expected[-1].probabilities
                assert np.abs(np.array(said["probabilities"]) - last).max() < 1e-5
                assert said["top"][0]["confidence"] == pytest.approx(last.max(), abs=1e-5)
    assert answered > 10


def test_a_bad_frame_is_told_and_the_connection_goes_on(client: TestClient) -> None:
    good = picture()
    size = good.index(b"\xff\xc0") + 5
    bomb = good[:size] + b"\xff\xff\xff\xff" + good[size + 4 :]
    two = good[:2] + good[size - 5 : size + 14] + good[2:]
    bad = {
        b"no picture": "no JPEG",
        b"": "no JPEG",
        good[:300]: "left out",
        bomb: "65535x65535",
        two: "one picture",
        good.replace(b"\xff\xc0", b"\xff\xc3"): "baseline or progressive",
        bytes(jpegs.MOST_BYTES + 1): "4 MB",
        bytes(cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1]): "no JPEG",
    }
    with client.websocket_connect("/live") as socket:
        begin(socket)
        for data, why in bad.items():
            socket.send_bytes(data)
            assert why in socket.receive_json()["error"]
        for text in ("{", '{"time": NaN}', '{"time": "x"}', "[]", '{"other": 1}', "9" * 5000):
            socket.send_text(text)
            assert socket.receive_json().keys() == {"error"}
        socket.send_bytes(good)
        assert socket.receive_json()["time"] == 0
        for step in (-1, 61):
            socket.send_json({"time": step})
            socket.send_bytes(good)
            assert "time of a frame" in socket.receive_json()["error"]
        socket.send_bytes(good)
        assert socket.receive_json()["time"] > 0


@pytest.mark.parametrize("hello", ["{", "[]", '{"every": 0}', '{"every": "x"}', b"\xff\xd8"])
def test_another_first_message_is_refused(client: TestClient, hello: str | bytes) -> None:
    with client.websocket_connect("/live") as socket:
        if isinstance(hello, str):
            socket.send_text(hello)
        else:
            socket.send_bytes(hello)
        assert socket.receive_json().keys() == {"error"}
        closed(socket, 1008)


def closed(socket: Any, code: int) -> None:
    with pytest.raises(WebSocketDisconnect) as end:
        socket.receive_json()
    assert end.value.code == code


def test_no_more_connect_than_may_and_keys_are_asked_for(
    client: TestClient, application: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application.state.live, "_most", 1)

    class Keys:
        def check(self, key: str | None, scope: str) -> None:
            if (key, scope) != ("right", "predict"):
                raise Refusal(401, "the service wants a key")

    application.state.keys = Keys()
    with client.websocket_connect("/live") as first:
        assert begin(first, key="right")["ready"]
        for key, code in (("right", 1013), ("wrong", 1008), (None, 1008)):
            with client.websocket_connect("/live") as socket:
                assert begin(socket, key=key).keys() == {"error"}
                closed(socket, code)
    # the place is free again
    with client.websocket_connect("/live") as again:
        assert begin(again, key="right")["ready"]


def test_a_silent_client_is_let_go(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_live, "_HELLO_S", 0.1)
    with client.websocket_connect("/live") as socket:
        assert "no message" in socket.receive_json()["error"]
        closed(socket, 1008)
    monkeypatch.setattr(serving_live, "_IDLE_S", 0.1)
    with client.websocket_connect("/live") as socket:
        begin(socket)
        assert "no frame" in socket.receive_json()["error"]
        closed(socket, 1008)


@pytest.mark.parametrize(
    ("headers", "welcome"),
    [
        ({"host": "localhost"}, True),
        ({"origin": "http://localhost:3000", "host": "localhost:3000"}, True),
        ({"origin": "https://127.0.0.1", "host": "127.0.0.1"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://localhost:8000", "host": "localhost:3000"}, False),
        ({"origin": "http://evil.example", "host": "evil.example"}, False),
    ],
)
def test_pages_of_other_sites_may_not_connect(
    application: Starlette, headers: dict[str, str], welcome: bool
) -> None:
    client = TestClient(KnownHosts(application, names=()), base_url="http://localhost")
    if welcome:
        with client.websocket_connect("/live", headers=headers) as socket:
            assert begin(socket)["ready"]
        return
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/live", headers=headers):
        pass


def test_answers_are_described(client: TestClient) -> None:
    with client.websocket_connect("/live") as socket:
        begin(socket)
        socket.send_bytes(picture())
        said = socket.receive_json()
    assert said.keys() == serving_live.LiveAnswer.model_fields.keys()
