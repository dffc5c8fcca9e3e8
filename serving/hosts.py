"""Refuse requests that a web page of another site makes a browser send."""

import ipaddress
import os
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from serving import measures
from serving.asgi import App, Message, Receive, Send

_SAFE = {"GET", "HEAD", "OPTIONS"}  # methods that change nothing
_POLICY_VIOLATION = 1008  # why a websocket is closed


class KnownHosts:
    """ASGI middleware that refuses requests and websockets to unknown host names, and those of
    other sites that change something.

    The owner of a host name can point it to this machine's address (DNS rebinding). A browser then
    lets the pages under that name read the answers of this service. Nobody can do that with an IP
    address or with localhost, so these are always known.

    A browser says in the header Origin which site the page is of that sends a request. It must be
    the host and port that the request is for, or one of the known names; `null`, which a page in a
    sandbox or of a file has, is neither. Programs other than browsers do not send the header.

    Args:
        app: the application.
        names: the other known host names; with "*" every one is known.
    """

    def __init__(self, app: App, *, names: tuple[str, ...]) -> None:
        self.app = app
        self.given = {name.lower() for name in names}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._is_known(host_name(headers.get("host", ""))):
            refused = JSONResponse(
                {"error": "this host name is not served here: start the server with --allow-host"},
                421,
            )
            reason = "unknown host"
        elif self._comes_from_elsewhere(scope, headers):
            refused = JSONResponse({"error": "a page of another site may not send this"}, 403)
            reason = "other site"
        else:
            await self.app(scope, receive, send)
            return
        measures.refused(refused.status_code, reason)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason})
        else:
            await refused(scope, receive, send)

    def _is_known(self, name: str) -> bool:
        return bool({"*", name} & self.given) or name == "localhost" or _is_address(name)

    def _comes_from_elsewhere(self, scope: Message, headers: Headers) -> bool:
        if scope["type"] == "http" and scope["method"] in _SAFE:
            return False
        if headers.get("sec-fetch-site") == "cross-site":
            return True
        # more than one is no browser's
        return any(
            not self._is_ours(origin, headers["host"]) for origin in headers.getlist("origin")
        )

    def _is_ours(self, origin: str, host: str) -> bool:
        try:
            site = urlsplit(origin)
        except ValueError:
            return False
        if site.scheme not in {"http", "https"} or not site.netloc or "@" in site.netloc:
            return False
        default = {"http": ":80", "https": ":443"}[site.scheme]
        here = host.lower().removesuffix(default)
        # by name alone where a proxy has another port than what it passes on says
        return site.netloc.removesuffix(default) == here or host_name(site.netloc) in self.given


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
