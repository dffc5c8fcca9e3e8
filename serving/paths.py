"""Bounds on what is counted by path."""

from typing import Any

from starlette.routing import Match

from serving.asgi import Message, Receive, Send

JOB = "kinoflow.job"  # the key of a scope with the id in the path
_JOBS = "/jobs/"
_UNKNOWN = "/unknown"


class FixedPaths:
    """Gives a BentoML application paths out of a fixed set.

    BentoML's metrics have a time series for each path that was ever asked for, in memory and in
    files: without bounds, since anybody can ask for any path. So a path without a route becomes
    /unknown, and that of a job /jobs/{id}.

    Args:
        app: the application.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            name = scope["path"].removeprefix(_JOBS)
            if name and name != scope["path"] and "/" not in name:
                scope = {**scope, "path": f"{_JOBS}{{id}}", JOB: name}
            elif all(route.matches(scope)[0] == Match.NONE for route in self.app.routes):
                scope = {**scope, "path": _UNKNOWN}
        await self.app(scope, receive, send)
