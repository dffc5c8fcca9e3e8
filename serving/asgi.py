"""The types of ASGI, the interface between a server and an application."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]  # also the type of a scope: a request's path, headers and so on
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# A key in the scope of requests that the service sends to itself. Nobody else can set it.
OWN = "kinoflow.own"

App = Callable[[Message, Receive, Send], Awaitable[None]]
