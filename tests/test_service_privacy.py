"""What the service lets web pages of other sites do: nothing."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from serving.hosts import KnownHosts
from serving.privacy import HEADERS, PrivateAnswers


async def _answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse("answered", headers={"Referrer-Policy": "unsafe-url"})


async def _talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("answered")
    await websocket.close()


@pytest.fixture(scope="module")
def client() -> TestClient:
    routes = [Route("/", _answer, methods=["GET", "POST"]), WebSocketRoute("/live", _talk)]
    known = KnownHosts(Starlette(routes=routes), names=("videos.example.com",))
    return TestClient(PrivateAnswers(known), base_url="http://localhost:3000")


ORIGINS = [
    ("localhost:3000", "http://localhost:3000", True),
    ("localhost:3000", "null", False),
    ("localhost:3000", "", False),
    ("localhost:3000", "file://", False),
    ("localhost:3000", "http://evil.example", False),
    # another program of this machine
    ("localhost:3000", "http://localhost:8888", False),
    ("127.0.0.1:3000", "http://localhost:3000", False),
    ("192.168.1.5:3000", "http://192.168.1.6:3000", False),
    ("[::1]:3000", "http://[::1]:3000", True),
    ("localhost", "http://localhost:80", True),
    ("localhost", "http://localhost:8080", False),
    # behind a proxy, which may have another port than it passes on
    ("videos.example.com", "https://videos.example.com", True),
    ("videos.example.com:443", "https://videos.example.com", True),
    ("127.0.0.1:3000", "https://videos.example.com:8443", True),
    ("videos.example.com", "https://videos.example.com.evil.example", False),
    ("videos.example.com", "https://videos.example.com@evil.example", False),
    ("videos.example.com", "https://videos.example.com:x@evil.example", False),
    ("videos.example.com", "http://[", False),
]


@pytest.mark.parametrize(("host", "origin", "ours"), ORIGINS)
def test_pages_of_other_origins_change_nothing(
    client: TestClient, host: str, origin: str, ours: bool
) -> None:
    headers = {"Host": host, "Origin": origin}
    assert client.post("/", headers=headers).status_code == (200 if ours else 403)
    # what changes nothing may be sent, since the page cannot read the answer
    assert client.get("/", headers=headers).status_code == 200
    assert talks(client, headers) == ours


def talks(client: TestClient, headers: dict[str, str]) -> bool:
    try:
        with client.websocket_connect("/live", headers=headers) as websocket:
            assert websocket.receive_text() == "answered"
    except WebSocketDisconnect:
        return False
    return True


def test_websockets_are_for_known_hosts_alone(client: TestClient) -> None:
    assert talks(client, {"Host": "localhost"})
    for name in ("evil.example", "localhost.evil.example", ""):
        assert not talks(client, {"Host": name})
        # a rebound name is that of the page as well
        assert not talks(client, {"Host": name, "Origin": f"http://{name}"})


def test_every_answer_has_the_headers_once_and_none_that_opens_it(client: TestClient) -> None:
    asked = [
        client.get("/"),
        client.get("/nothing"),
        client.post("/", headers={"Origin": "null"}),
        client.get("/", headers={"Host": "evil.example"}),
        # what a browser asks before it lets a page of another site send more than a form
        client.options(
            "/",
            headers={
                "Origin": "http://evil.example",
                "Access-Control-Request-Method": "DELETE",
                "Access-Control-Request-Headers": "authorization",
            },
        ),
    ]
    assert {answer.status_code for answer in asked} == {200, 403, 404, 405, 421}
    for answer in asked:
        for name, value in HEADERS.items():
            assert answer.headers.get_list(name) == [value]
        assert not [name for name in answer.headers if name.startswith("access-control")]
    policy = HEADERS["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "*" not in policy
