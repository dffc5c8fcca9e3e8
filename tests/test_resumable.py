"""Downloading, from a server that misbehaves in every way that servers do."""

import hashlib
import http.server
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from kinoflow.system.errors import UserError
from stages.sources.remote import web
from stages.sources.remote.resumable import RemoteFile, download

CONTENT = np.random.default_rng(0).bytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; `server.plan` is a list of faults, one a request, then it behaves."""

    server: "Server"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        fault = self.server.plan.pop(0) if self.server.plan else ""
        wanted = self.headers.get("Range", "")
        self.server.ranges.append(wanted)
        if fault.isdigit():
            self.send_response(int(fault))
            self.send_header("Content-Length", "0")
            if fault == "429":
                self.send_header("Retry-After", "1")
            self.end_headers()
            return
        content, etag = self.server.content, self.server.etag
        start = 0
        same = self.headers.get("If-Range") == etag
        if wanted and same and fault != "ignores ranges":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        length = len(content) - start + (1000 if fault == "claims more" else 0)
        if fault != "gives no length":
            self.send_header("Content-Length", str(length))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        body = content[start:]
        if fault == "drops":
            body = body[: len(body) // 2]
        self.wfile.write(body)
        self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[str] = []
        self.ranges: list[str] = []
        self.content, self.etag = CONTENT, '"one"'
        self.url = f"http://127.0.0.1:{self.server_port}/some/clips.zip"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(web, "_LONGEST_WAIT", 0.01)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("plan", "requests"),
    [
        ([], 1),
        (["drops"], 2),
        (["drops", "drops", "drops", "drops", "drops", "drops", "drops"], 8),
        (["drops", "ignores ranges"], 2),
        (["503"], 2),
        (["503", "drops", "429", "drops"], 5),
        (["claims more"], 2),
    ],
)
def test_the_right_bytes_arrive_in_the_end(
    server: Server, tmp_path: Path, plan: list[str], requests: int
) -> None:
    server.plan = list(plan)
    download(
        RemoteFile(server.url, len(CONTENT) if plan != ["claims more"] else None, SHA256),
        tmp_path / "f",
    )
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert len(server.ranges) == requests
    # with what tells whether the server has another one later
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "f.version"]


def test_a_server_that_asks_for_rest_gets_it(server: Server, tmp_path: Path) -> None:
    server.plan = ["429"]
    started = time.monotonic()
    download(RemoteFile(server.url), tmp_path / "f")
    assert time.monotonic() - started > 1


def test_progress_makes_the_next_wait_a_short_one(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(web, "_LONGEST_WAIT", 30.0)
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    server.plan = ["503", "503", "drops", "drops", "503"]
    download(RemoteFile(server.url), tmp_path / "f")
    assert waits == [1, 2, 0.5, 0.5, 1]


def test_a_key_in_an_address_is_told_to_nobody(server: Server, tmp_path: Path) -> None:
    url = server.url.replace("127", "me:secret@127") + "?signature=secret"
    for plan in (["404"], ["503"] * 5):
        server.plan = plan
        with pytest.raises(UserError, match=server.url) as raised:
            download(RemoteFile(url), tmp_path / "f")
        assert "secret" not in str(raised.value)


def test_what_came_before_a_broken_connection_is_not_fetched_again(
    server: Server, tmp_path: Path
) -> None:
    server.plan = ["drops"]
    download(RemoteFile(server.url), tmp_path / "f")
    assert server.ranges == ["", f"bytes={len(CONTENT) // 2}-"]


def test_a_file_that_changed_meanwhile_is_not_stitched_together(
    server: Server, tmp_path: Path
) -> None:
    server.plan = ["drops", "404"]
    with pytest.raises(UserError):
        download(RemoteFile(server.url), tmp_path / "f")
    assert not (tmp_path / "f").exists()
    server.content, server.etag = CONTENT[::-1], '"two"'
    download(RemoteFile(server.url), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT[::-1]


def test_without_a_version_nothing_is_gone_on_from(server: Server, tmp_path: Path) -> None:
    server.etag = ""
    server.plan = ["drops"]
    download(RemoteFile(server.url), tmp_path / "f")
    assert server.ranges == ["", ""]
    assert (tmp_path / "f").read_bytes() == CONTENT


def never(server: Server) -> None:
    server.plan = ["503"] * 50


def missing(server: Server) -> None:
    server.plan = ["404"] * 50


def no_length(server: Server) -> None:
    server.plan = ["gives no length"]


def other_size(server: Server) -> None:
    server.content = CONTENT[:-1]


def other_content(server: Server) -> None:
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])


@pytest.mark.parametrize(
    ("fault", "says", "requests"),
    [
        (never, "503 Service Unavailable", 5),
        (missing, "404 Not Found", 1),
        (other_size, "has 999,999 bytes and should have 1,000,000", 1),
        (other_content, "another SHA-256 than published", 1),
    ],
)
def test_a_fault_that_stays_is_one_line_and_no_file(
    server: Server, tmp_path: Path, fault: Callable[[Server], None], says: str, requests: int
) -> None:
    fault(server)
    with pytest.raises(UserError, match=says) as raised:
        download(RemoteFile(server.url, len(CONTENT), SHA256), tmp_path / "f")
    assert server.url in str(raised.value)
    assert "set dataset.path" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(server.ranges) == requests
    assert list(tmp_path.iterdir()) == []


def test_no_server_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_LONGEST_WAIT", 0.01)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9.*cannot be read"):
        download(RemoteFile("http://127.0.0.1:9/f.zip"), tmp_path / "f")
    for url in ("ftp://example.org/f.zip", "nonsense"):
        with pytest.raises(UserError, match="no address to download from"):
            download(RemoteFile(url), tmp_path / "f")


def test_a_certificate_that_cannot_be_verified_is_named(server: Server, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run(
        [*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with pytest.raises(UserError, match="certificate cannot be verified"):
        download(RemoteFile(server.url.replace("http:", "https:")), tmp_path / "f")


def test_progress_shows_speed_and_time_left(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download(RemoteFile(server.url), tmp_path / "f")
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("clips.zip: 1.0 MB of 1.0 MB, ")
    assert lines[-1].endswith("/s, 0 s left")


def test_a_length_that_nobody_states_is_no_length(server: Server, tmp_path: Path) -> None:
    no_length(server)
    with pytest.raises(UserError, match="does not say how long the file is"):
        download(RemoteFile(server.url), tmp_path / "f")
    assert list(tmp_path.iterdir()) == []
    # a checksum tells as well
    no_length(server)
    download(RemoteFile(server.url, sha256=SHA256), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
