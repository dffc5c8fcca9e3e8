"""Requests to the service as bytes, and the processes that answer them."""

import re
import socket
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import psutil  # type: ignore[import-untyped]

from tests.bento import Server

BOUNDARY = b"frontier"


def request(video: bytes, *, target: bytes = b"/predict", content_type: bytes = b"") -> bytes:
    """A whole request, as curl would send it."""
    part = b'Content-Disposition: form-data; name="video"; filename="clip.avi"\r\n\r\n' + video
    body = b"--%s\r\n%s\r\n--%s--\r\n" % (BOUNDARY, part, BOUNDARY)
    content_type = content_type or b"multipart/form-data; boundary=" + BOUNDARY
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
