"""Videos on a web server, which may misbehave."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kinoflow.system.errors import UserError
from stages.sources.remote import web
from tests.remote import LABELS, items, sync


class Server:
    """A server of files that does as it is told: what it sends, and how it misbehaves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.tags = True  # whether it sends an ETag
        self.head = True  # whether it knows HEAD
        self.answers: list[int] = []  # statuses to give first, whatever is asked
        self.cut = 0  # bytes that each download lacks
        self.rest = 0  # seconds for which it asks to be left alone
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send(body=True)

            def do_HEAD(self) -> None:
                self.send(body=False)

            def send(self, *, body: bool) -> None:
                outer.asked.append(f"{self.command} {self.path}")
                content = outer.files.get(self.path)
                status = 200 if content is not None else 404
                if self.command == "HEAD" and not outer.head:
                    status = 405
                if outer.answers:
                    status = outer.answers.pop(0)
                self.send_response(status)
                content = (content or b"") if status == 200 else b""
                if status == 302:
                    self.send_header("Location", self.path)
                if outer.rest:
                    self.send_header("Retry-After", str(outer.rest))
                self.send_header("Content-Length", str(len(content)))
                if outer.tags:
                    self.send_header("ETag", f'"{hash(content)}"')
                self.end_headers()
                if body:
                    self.wfile.write(content[: len(content) - outer.cut])

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/films"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(web, "_LONGEST_WAIT", 0.0)
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.files = {
        "/films/labels.csv": LABELS.encode(),
        "/films/A/1.avi": b"one",
        "/films/B/2%20%C3%BC%23%2520.avi": b"two",
    }
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def test_a_web_folder_is_synced_by_its_labels_csv(server: Server, tmp_path: Path) -> None:
    assert sync(server.url, tmp_path) == ["A/1.avi", "B/2 ü#%20.avi", "labels.csv"]
    assert (tmp_path / "data" / "B" / "2 ü#%20.avi").read_bytes() == b"two"
    assert (tmp_path / "data" / "labels.csv").read_text() == LABELS
    server.asked.clear()
    assert sync(f"{server.url}/", tmp_path) == []
    assert "GET /films/A/1.avi" not in server.asked

    server.files["/films/A/1.avi"] = b"eno"
    server.files["/films/labels.csv"] = b"video,label\nA/1.avi,x\n"
    assert sorted(sync(server.url, tmp_path)) == ["A/1.avi", "B/2 ü#%20.avi", "labels.csv"]
    assert (tmp_path / "data" / "A" / "1.avi").read_bytes() == b"eno"


def test_a_server_that_identifies_nothing_is_asked_for_all_again(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.tags = server.head = False
    assert len(sync(server.url, tmp_path)) == 3
    assert "neither ETag nor Last-Modified for 3 files" in capsys.readouterr().err
    server.files["/films/A/1.avi"] = b"eno"  # of the same size
    assert sync(server.url, tmp_path) == ["A/1.avi"]


def test_what_passes_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.answers = [503, 429]
    item = items(server.url)[1]
    server.answers = [500, 502, 425, 408]
    server.asked.clear()
    item.fetch(tmp_path / "x.avi")
    assert (tmp_path / "x.avi").read_bytes() == b"one"
    assert server.asked == ["GET /films/A/1.avi"] * 5


def test_a_server_that_asks_for_rest_is_left_alone_that_long(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = items(server.url)[1]
    waits: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    server.rest, server.answers = 90, [503]
    item.fetch(tmp_path / "x.avi")
    assert waits == [90]


def test_a_server_that_leads_in_circles_is_left(server: Server) -> None:
    server.answers = [302] * 100
    with pytest.raises(UserError, match=r"labels\.csv cannot be read: .*redirects"):
        items(server.url)
    assert len(server.asked) < 30


def test_what_a_server_refuses_is_named(server: Server, tmp_path: Path) -> None:
    item = next(item for item in items(server.url) if item.name == "A/1.avi")
    server.cut = 1
    with pytest.raises(UserError, match="films/A/1.avi cannot be read: .*received 2 .*expected 3"):
        item.fetch(tmp_path / "x.avi")
    server.cut, server.files["/films/A/1.avi"] = 0, b"longer"
    with pytest.raises(UserError, match="films/A/1.avi came with 6 bytes instead of 3"):
        item.fetch(tmp_path / "x.avi")
    server.answers = [503] * 5
    server.asked.clear()
    with pytest.raises(UserError, match="films/A/1.avi cannot be read: .*HTTP 503 Service Unavail"):
        item.fetch(tmp_path / "x.avi")
    assert len(server.asked) == 5
    server.answers = [403]
    server.asked.clear()
    with pytest.raises(UserError, match="no permission to read .*films/labels.csv .HTTP 403 Forb"):
        items(server.url)
    assert len(server.asked) == 1, "what a server refuses is not asked for again"
    del server.files["/films/A/1.avi"]
    with pytest.raises(UserError, match="lists 1 videos that http.*films does not hold.*A/1.avi"):
        items(server.url)
    del server.files["/films/labels.csv"]
    with pytest.raises(
        UserError, match="there is no .*labels.csv .HTTP 404 Not Found.: a web server"
    ):
        items(server.url)
    with pytest.raises(UserError, match="^http://127.0.0.1:9/labels.csv cannot be read: .*refused"):
        items("http://me:secret@127.0.0.1:9?key=secret")


@pytest.mark.parametrize("name", ["../1.avi", "/etc/1.avi", "A\\1.avi", "A/\01.avi", "x" * 252])
def test_a_name_that_would_leave_the_folder_is_not_asked_for(server: Server, name: str) -> None:
    server.files["/films/labels.csv"] = f"video,label\n{name},x\n".encode()
    with pytest.raises(UserError, match="no path below a folder|holds a control|of 252 bytes"):
        items(server.url)
    assert server.asked == ["GET /films/labels.csv"]
