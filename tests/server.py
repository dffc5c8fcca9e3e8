"""A web server for tests, which counts what it is asked for and can be slow."""

import contextlib
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator

_PIECE = 1 << 14


class Site(http.server.ThreadingHTTPServer):
    """Serves `files` by their paths, with parts of them where asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []  # method, path and range
        self.pause = 0.0  # seconds between pieces
        self.cut: int | None = None  # bytes after which it says no more
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        pass  # who asked is gone


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(self.server.files.get(self.path, b""))

    def _answer(self, body: bytes) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append(" ".join(filter(None, [self.command, self.path, wanted])))
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        start = 0
        if wanted and self.headers.get("If-Range") == etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", etag)
        self.end_headers()
        for place in range(start, len(body), _PIECE):
            if self.server.cut is not None and place >= self.server.cut:
                time.sleep(60)
            self.wfile.write(body[place : place + _PIECE])
            time.sleep(self.server.pause)


@contextlib.contextmanager
def serving() -> Iterator[Site]:
    """A server on this machine while in the block."""
    site = Site()
    site.daemon_threads = True
    thread = threading.Thread(target=site.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.shutdown()
        site.server_close()
