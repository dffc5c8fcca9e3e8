"""Refuse requests that a web page of another site makes a browser send."""

import ipaddress
import os

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from serving import measures
from serving.asgi import App, Message, Receive, Send

_SAFE = {"GET", "HEAD", "OPTIONS"}  # methods that change nothing


class KnownHosts:
    """ASGI middleware that refuses requests to unknown host names, and cross-site
    requests that change something.

    The owner of a host name can point it to this machine's address (DNS rebinding). A browser then
    lets the pages under that name read the answers of this service. Nobody can do that with an IP
    address or with localhost, so these are always known.

    Args:
        app: the application.
        names: the other known host names; with "*" every one is known.
    """

    def __init__(self, app: App, *, names: tuple[str, ...]) -> None:
        self.app = app
        self.names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        name = host_name(headers.get("host", ""))
        if not ({"*", name} & self.names or _is_address(name)):
            measures.refused(421, "unknown host")
            answer = JSONResponse(
                {"error": "this host name is not served here: start the server with --allow-host"},
                421,
            )
            await answer(scope, receive, send)
        elif scope["method"] not in _SAFE and headers.get("sec-fetch-site") == "cross-site":
            measures.refused(403, "other site")
            answer = JSONResponse({"error": "a page of another site may not send this"}, 403)
            await answer(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def host_name(host: str) -> str:
    """The name in a Host header, without its port: example.com, 127.0.0.1, ::1."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")


def from_environment() -> tuple[str, ...]:
    """The host names in KINOFLOW_HOSTS, a list with commas."""
    names = os.environ.get("KINOFLOW_HOSTS", "").split(",")
    return tuple(name.strip() for name in names if name.strip())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
