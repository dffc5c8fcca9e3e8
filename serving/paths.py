"""Bounds on what is counted by path."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Match

from serving.asgi import App, Message, Receive, Send, place

_METRICS = "RunnerTrafficMetricsMiddleware"  # BentoML's
_REAL = "kinoflow.path"  # the key of a scope with the path that was asked for
_JOBS = "/jobs/"


def bound(app: Starlette) -> Starlette:
    """Have BentoML's metrics count requests by paths of a fixed set, and return the application.

    They have a time series for each path that was ever asked for, in memory and in files: without
    bounds, since anybody can ask for any path. So a path without a route becomes /unknown, and that
    of a job /jobs/{id}. All that comes after the metrics, the log included, has the real path.
    """
    counting = place(app, _METRICS)
    app.user_middleware.insert(counting + 1, Middleware(_RealPaths))
    app.user_middleware.insert(counting, Middleware(_FixedPaths, routes=app.routes))
    return app


class _FixedPaths:
    def __init__(self, app: App, *, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self.routes = routes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": self._fixed(scope), _REAL: scope["path"]}
        await self.app(scope, receive, send)

    def _fixed(self, scope: Message) -> str:
        if all(route.matches(scope)[0] == Match.NONE for route in self.routes):
            return "/unknown"
        path: str = scope["path"]
        return f"{_JOBS}{{id}}" if path.startswith(_JOBS) else path


class _RealPaths:
    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if _REAL in scope:
            scope = {**scope, "path": scope[_REAL]}
        await self.app(scope, receive, send)
