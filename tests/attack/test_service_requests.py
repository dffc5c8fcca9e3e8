"""The service under requests that nobody should send."""

import collections
import random
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.attack.raw_requests import BOUNDARY, is_alive, request, status
from tests.bento import SERVING, Server

pytest_plugins = ["tests.bento_fixtures"]

Count = Callable[[int, int], int]


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
        content_type = b"multipart/form-data; charset=%s; boundary=%s" % (charset, BOUNDARY)
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
