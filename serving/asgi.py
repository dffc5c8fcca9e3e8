"""The types of ASGI, the interface between a server and an application."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.applications import Starlette

Message = MutableMapping[str, Any]  # also the type of a scope: a request's path, headers and so on
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# A key in the scope of requests that the service sends to itself. Nobody else can set it.
OWN = "kinoflow.own"

App = Callable[[Message, Receive, Send], Awaitable[None]]


def place(app: Starlette, name: str) -> int:
    """Where in the application's middleware that of a class is, which BentoML has put there.

    Raises ValueError if there is none: then BentoML has changed.
    """
    names = [getattr(each.cls, "__name__", "") for each in app.user_middleware]
    return names.index(name)
