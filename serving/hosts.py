"""Who may ask: requests that a web page makes a browser send from elsewhere are refused."""

import ipaddress
import os

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from serving.visits import App, Message, Receive, Send


class KnownHosts:
    """ASGI middleware that answers requests to this host alone, and to no other site's pages.

    A name that somebody else owns can be made to lead to this machine (DNS rebinding), and then
    a page under that name is allowed to read the answers. IP addresses cannot be taken over so,
    nor can localhost.

    Args:
        app: the application.
        names: further host names to answer to; "*" allows every one.
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
            answer = JSONResponse(
                {"error": "this host name is not served here: start the server with --allow-host"},
                421,
            )
            await answer(scope, receive, send)
        elif scope["method"] == "POST" and headers.get("sec-fetch-site") == "cross-site":
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
    """The names in KINOFLOW_HOSTS, which commas divide."""
    names = os.environ.get("KINOFLOW_HOSTS", "").split(",")
    return tuple(name.strip() for name in names if name.strip())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
