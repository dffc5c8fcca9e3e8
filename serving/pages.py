"""The page at /: static files, each with a route of its own."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).resolve().parent / "page"

_INDEX = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def routes(folder: Path = FOLDER) -> list[Route]:
    """A route for each file of the page: the index at /, the others below /page/.

    A request never becomes a path on the disk: there are these files, and no others.

    Args:
        folder: where the files are. They are read here, once.
    """
    return [
        Route(
            "/" if path.name == _INDEX else f"/page/{path.name}",
            _file(path),
            include_in_schema=False,
        )
        for path in sorted(folder.iterdir())
        if path.suffix in _TYPES
    ]


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """What answers with a file."""
    content = path.read_bytes()
    headers = {
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        # ask each time whether it has changed: the files of two versions do not fit together
        "Cache-Control": "no-cache",
        "Content-Type": _TYPES[path.suffix],
    }

    async def answered(request: Request) -> Response:
        if headers["ETag"] in request.headers.get("If-None-Match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)

    return answered
