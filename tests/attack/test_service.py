"""The service under requests that nobody should send."""

import collections
import random
import re
import resource
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from kinoflow.workspace import Workspace
from tests.bento import SERVING, Server
from tests.children import decoders

pytest_plugins = ["tests.bento_fixtures"]

Count = Callable[[int, int], int]

_BOUNDARY = b"frontier"


@pytest.fixture(scope="module")
def video(project: Path) -> bytes:
    """A video that the service answers."""
    return next((Workspace(project).data).rglob("*.avi")).read_bytes()


def request(video: bytes, *, target: bytes = b"/predict", content_type: bytes = b"") -> bytes:
    """A whole request, as curl would send it."""
    part = b'Content-Disposition: form-data; name="video"; filename="clip.avi"\r\n\r\n' + video
    body = b"--%s\r\n%s\r\n--%s--\r\n" % (_BOUNDARY, part, _BOUNDARY)
    content_type = content_type or b"multipart/form-data; boundary=" + _BOUNDARY
    return (
        b"POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: %s\r\n"
        b"Content-Length: %d\r\n\r\n" % (target, content_type, len(body))
    ) + body


def connection(server: Server, timeout: float = 10) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((str(address.hostname), address.port or 0), timeout)


def status(server: Server, sent: bytes, patience: float = 20) -> int:
    """The status of what is answered to these bytes.

    0 where the connection is only closed, or nothing has come after `patience` seconds: the
    server waits for more.
    """
    with connection(server, patience) as client:
        answer = b""
        # what is refused early is answered before it is all sent
        with suppress(ConnectionError, TimeoutError):
            client.sendall(sent)
        with suppress(ConnectionError, TimeoutError):
            answer = client.makefile("rb").readline()
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    return int(found[1]) if found else 0


def is_alive(server: Server, timeout: float = 5) -> bool:
    return httpx.get(f"{server.url}/livez", timeout=timeout, trust_env=False).is_success


def worker(server: Server) -> psutil.Process:
    """The process that answers, a child of the one that holds the port."""
    port = str(urlsplit(server.url).port)
    # of what ends meanwhile process_iter tells nothing
    (supervisor,) = [
        process
        for process in psutil.process_iter(["cmdline"])
        if (command := process.info["cmdline"] or [])[1:3] == ["-m", "serving.server"]
        and port in command
    ]
    (found,) = supervisor.children()
    return found


def mutated(sent: bytes, rng: random.Random) -> bytes:
    """The same with a few bytes changed, cut out, doubled or put in."""
    changed = bytearray(sent)
    for _ in range(rng.randint(1, 3)):
        # as often in what HTTP and the form consist of, which comes first, as in the video
        at = rng.randrange(1 + min(len(changed), rng.choice((400, 10**9))))
        length = rng.choice((1, 1, 2, 8, 64))
        match rng.randrange(5):
            case 0:
                changed[at : at + length] = rng.randbytes(length)
            case 1:
                del changed[at : at + length]
            case 2:
                changed[at:at] = changed[at : at + length]
            case 3:
                changed[at:at] = rng.choice((b"\r\n", b"\0", b"\xff", b"%0a", b": ", b"9" * 40))
            case 4:
                del changed[len(changed) - length :]
    return bytes(changed)


def test_mutated_requests_are_answered_or_refused(
    server: Server, video: bytes, count: Count
) -> None:
    rng, sent = random.Random(1), request(video)
    attacks = [mutated(sent, rng) for _ in range(count(100, 5000))]
    with ThreadPoolExecutor(SERVING["max_concurrency"]) as pool:
        seen = collections.Counter(pool.map(lambda attack: status(server, attack, 1), attacks))
    print(f"mutated requests, by status (0: no answer): {dict(sorted(seen.items()))}")
    assert not [code for code in seen if code >= 500]
    assert {200, 400} <= seen.keys()
    assert status(server, sent) == 200


def tricks(video: bytes) -> Iterator[tuple[str, bytes]]:
    """Requests that have led other servers astray, by name."""
    whole = request(video)
    head, _, body = whole.partition(b"\r\n\r\n")
    chunked = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    size = b"%x\r\n" % len(body)
    ended = b"\r\n0\r\n\r\n"
    yield "length and chunks", head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + size + body
    yield "two lengths", head + b"\r\nContent-Length: 5\r\n\r\n" + body
    yield "negative length", re.sub(rb"Content-Length: \d+", b"Content-Length: -1", whole)
    yield "length in hex", re.sub(rb"Content-Length: \d+", b"Content-Length: 0x10", whole)
    yield "length with plus", re.sub(rb"Content-Length: ", b"Content-Length: +", whole)
    yield "huge length", re.sub(rb"Content-Length: \d+", b"Content-Length: " + b"9" * 4000, whole)
    yield "huge chunk", chunked + b"\r\n\r\n" + b"f" * 4000 + b"\r\n" + body
    yield "negative chunk", chunked + b"\r\n\r\n-5\r\n" + body + ended
    yield (
        "chunk extension",
        chunked + b"\r\n\r\n" + size[:-2] + b";" + b"a" * 20000 + b"\r\n" + body,
    )
    yield (
        "trailer",
        chunked + b"\r\n\r\n" + size + body + b"\r\n0\r\n" + b"a: b\r\n" * 2000 + b"\r\n",
    )
    yield "unknown coding", chunked.replace(b"chunked", b"xchunked") + b"\r\n\r\n" + size + body
    yield "two hosts", whole.replace(b"Host: localhost", b"Host: localhost\r\nHost: evil.example")
    yield "no host", whole.replace(b"Host: localhost\r\n", b"")
    yield "folded header", whole.replace(b"\r\nConnection", b"\r\n\tX: y\r\nConnection")
    yield "space before colon", whole.replace(b"Content-Type:", b"Content-Type :")
    yield "bare line feeds", head.replace(b"\r\n", b"\n") + b"\n\n" + body
    yield "bare carriage return", whole.replace(b"localhost\r\n", b"localhost\rX: y\r\n")
    yield "null byte in header", whole.replace(b"localhost", b"local\0host")
    yield "many headers", whole.replace(b"\r\nHost", b"\r\n" + b"a: b\r\n" * 20000 + b"Host", 1)
    yield "long header", whole.replace(b"\r\nHost", b"\r\na: " + b"b" * 200_000 + b"\r\nHost", 1)
    yield "long target", whole.replace(b"/predict", b"/predict?" + b"a" * 200_000)
    yield "whole address", whole.replace(b"/predict", b"http://evil.example/predict")
    yield "asterisk", whole.replace(b"POST /predict", b"OPTIONS *")
    yield "tunnel", whole.replace(b"POST /predict", b"CONNECT evil.example:443")
    yield "trace", whole.replace(b"POST", b"TRACE")
    yield "unknown method", whole.replace(b"POST", b"P\xffST")
    yield "HTTP/0.9", b"GET /predict\r\n"
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "HTTP/9.9", whole.replace(b"HTTP/1.1", b"HTTP/9.9")
    yield "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
    yield (
        "websocket",
        whole.replace(b"Connection: close", b"Connection: Upgrade\r\nUpgrade: websocket"),
    )
    yield (
        "upgrade to HTTP/2",
        whole.replace(b"Connection: close", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c"),
    )
    yield "expectation", whole.replace(b"Connection: close", b"Expect: 200-maybe")
    yield "climbing path", whole.replace(b"/predict", b"/static_content/../../../../etc/passwd")
    yield "encoded path", whole.replace(b"/predict", b"/static_content/..%2f..%2f..%2fetc%2fpasswd")
    yield "pickle", request(video, content_type=b"application/vnd.bentoml+pickle")
    yield "pipelined", head.replace(b"Connection: close\r\n", b"") + b"\r\n\r\n" + body + whole
    for charset in (b"undefined", b"punycode", b"idna", b"zip", b"utf-7", b"\xff", b"a" * 5000):
        content_type = b"multipart/form-data; charset=%s; boundary=%s" % (charset, _BOUNDARY)
        yield f"charset {charset[:12]!r}", request(video, content_type=content_type)
    for boundary in (b"", b'"', b"a" * 5000, b"\0", b"--", b"=?utf-8?q?x?="):
        yield (
            f"boundary {boundary[:12]!r}",
            request(video, content_type=b"multipart/form-data; boundary=" + boundary),
        )


def test_no_trick_of_the_protocol_ends_in_an_error(
    server: Server, video: bytes, count: Count
) -> None:
    seen: dict[str, int] = {}
    for _ in range(count(1, 20)):
        seen |= {name: status(server, sent, 1) for name, sent in tricks(video)}
    print(f"tricks: {seen}")
    assert {name: code for name, code in seen.items() if code >= 500} == {}
    # with such charsets the form is still one, or is refused
    assert {seen[name] for name in seen if "charset" in name} <= {200, 400}
    assert seen["no host"] == seen["two hosts"] == 400
    assert is_alive(server)


@contextmanager
def open_files(wanted: int) -> Iterator[None]:
    """Allow this process so many open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < wanted:
        pytest.skip(f"the system allows {before[1]} open files at most")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, before[0]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("part", ["headers", "body"])
def test_slow_clients_keep_nobody_else_out(
    server: Server, video: bytes, count: Count, part: str
) -> None:
    whole = request(video)
    begun = whole[: 40 if part == "headers" else 600]
    with ExitStack() as held, open_files(8000):
        clients = [held.enter_context(connection(server)) for _ in range(count(1200, 3000))]
        slowest = 0.0
        for client in clients:
            try:
                client.sendall(begun)
            except ConnectionError:
                continue  # it has had to make room
        for _ in range(5):
            started = time.monotonic()
            # the first waits for all that came before it to be read as far as it goes
            assert is_alive(server, 60)
            assert status(server, whole, 60) == 200
            slowest = max(slowest, time.monotonic() - started)
    print(
        f"{len(clients)} clients that stop in the {part}: an answer takes {slowest:.2f} s at most"
    )


def test_a_client_that_keeps_the_service_waiting_is_let_go(server: Server, video: bytes) -> None:
    begun = {
        "a byte of headers at a time": b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nG",
        "a byte of a body at a time": request(video)[:-30],
        "reads nothing": b"GET /docs.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400,
    }
    with ExitStack() as held:
        clients = {name: held.enter_context(socket.socket()) for name in begun}
        for name, client in clients.items():
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            address = urlsplit(server.url)
            client.connect((address.hostname, address.port))
            client.settimeout(0.1)
            with suppress(TimeoutError):
                client.sendall(begun[name])
        started, ended = time.monotonic(), dict.fromkeys(begun, 0.0)
        while not all(ended.values()) and time.monotonic() < started + 90:
            for name, client in clients.items():
                if ended[name]:
                    continue
                try:
                    client.send(b"G")
                except TimeoutError:
                    pass
                except ConnectionError:
                    ended[name] = time.monotonic() - started
            time.sleep(0.5)
    print(f"let go after so many seconds: {ended}")
    assert all(ended.values())
    assert is_alive(server)


def test_a_full_disk_is_told_as_such(server: Server, video: bytes) -> None:
    # a limit on the size of files, since a full disk cannot be had here
    limits = worker(server).rlimit(psutil.RLIMIT_FSIZE)
    worker(server).rlimit(psutil.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        assert status(server, request(video + bytes(600_000))) == 507
    finally:
        worker(server).rlimit(psutil.RLIMIT_FSIZE, limits)
    assert status(server, request(video)) == 200


def test_a_line_of_the_log_cannot_be_forged(server: Server, video: bytes) -> None:
    forged = b"/nothing%0a2026-01-01T00:00:00+0000%20[INFO]%20forged%1b[31m%0d%e2%80%a8"
    assert status(server, request(video, target=forged)) == 404
    until = time.monotonic() + 10
    while "forged" not in (log := _log(server)) and time.monotonic() < until:
        time.sleep(0.1)
    (line,) = [line for line in log.splitlines() if "forged" in line]
    assert "/nothing\\n2026" in line
    assert not {"\x1b", "\r"} & {*log}


def _log(server: Server) -> str:
    (log,) = server.temporary.glob("kinoflow-check-*/log")
    return log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:3000", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:3000", 200),
        ("192.168.1.5", 200),
        ("evil.example", 421),
        ("evil.example:3000", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("", 421),
        ("[evil.example]", 421),
    ],
)
def test_only_its_own_host_names_are_served(
    server: Server, video: bytes, host: str, expected: int
) -> None:
    sent = request(video).replace(b"Host: localhost", b"Host: " + host.encode())
    assert status(server, sent) == expected


def test_a_page_of_another_site_cannot_send_videos(server: Server, video: bytes) -> None:
    whole = request(video)
    for site, expected in (("cross-site", 403), ("same-origin", 200), ("none", 200)):
        header = f"\r\nSec-Fetch-Site: {site}\r\nContent-Type".encode()
        assert status(server, whole.replace(b"\r\nContent-Type", header)) == expected


def test_one_port_listens_and_it_is_that_of_the_service(server: Server) -> None:
    supervisor = worker(server).parent()
    assert supervisor is not None
    tree = [*supervisor.parents()[:2], supervisor, *supervisor.children(recursive=True)]
    listening = {
        (found.laddr.ip, found.laddr.port)
        for process in tree
        if process.pid > 1
        for found in process.net_connections("inet")
        if found.status == psutil.CONN_LISTEN or found.type == socket.SOCK_DGRAM
    }
    assert listening == {("127.0.0.1", urlsplit(server.url).port)}


def test_a_worker_that_dies_is_started_again(server: Server, video: bytes, count: Count) -> None:
    kills = count(1, 15)
    for _ in range(kills):
        killed = worker(server)
        with connection(server) as client:
            client.sendall(request(video))
            killed.kill()
        until = time.monotonic() + 120
        while status(server, request(video)) != 200:
            assert time.monotonic() < until, "no worker has taken its place"
            time.sleep(0.2)
        assert worker(server).pid != killed.pid
    assert not list(server.temporary.rglob("kinoflow-upload-*"))
    assert httpx.get(f"{server.url}/metrics", trust_env=False).is_success
    print(f"killed {kills} workers, and each was replaced")


def test_more_than_can_be_answered_at_once_are_put_off(server: Server, video: bytes) -> None:
    most, sent = SERVING["max_concurrency"], request(video)
    with ThreadPoolExecutor(most) as pool:
        assert {*pool.map(lambda _: status(server, sent), range(most))} == {200}
        try:
            suspend(server)
            waiting = [pool.submit(status, server, sent) for _ in range(most)]
            until = time.monotonic() + 10
            while (answer := ask(server, video)).is_success and time.monotonic() < until:
                suspend(server)  # those before it may not have been noticed yet
            assert answer.status_code == 429
            assert answer.headers["Retry-After"] == "1"
            assert is_alive(server)
        finally:
            for decoder in decoders(worker(server).pid):
                decoder.resume()
        assert {future.result() for future in waiting} == {200}


def suspend(server: Server) -> None:
    for decoder in decoders(worker(server).pid):
        with suppress(psutil.NoSuchProcess):
            decoder.suspend()


def ask(server: Server, video: bytes) -> httpx.Response:
    return server.predict(files={"video": ("clip.avi", video)})
