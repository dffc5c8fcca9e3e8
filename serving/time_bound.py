"""A bound on the time until an answer begins, should that of `serving.admission` fail."""

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse

from serving.asgi import App, Message, Receive, Send, place

_BENTOML = "TimeoutMiddleware"


def replace(app: Starlette) -> Starlette:
    """Put `TimeBound` in the place of BentoML's own bound, and return the application.

    BentoML does not stop its timers: after an answer, each holds all that belonged to the request
    for as long as the bound. At a hundred requests a second these are thousands, and Python's
    garbage collector, which looks at them all, stops the service for up to a second.
    """
    theirs = place(app, _BENTOML)
    seconds = cast(float, app.user_middleware[theirs].kwargs["timeout"])
    app.user_middleware[theirs] = Middleware(TimeBound, seconds=seconds)
    return app


class TimeBound:
    """ASGI middleware that answers with 504 for what has not begun to answer in time.

    Args:
        app: the application.
        seconds: from the arrival of a request's headers to the beginning of its answer.
    """

    def __init__(self, app: App, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        begun = asyncio.get_running_loop().create_future()

        async def send_begun(message: Message) -> None:
            if not begun.done():
                begun.set_result(None)
            await send(message)

        answering = asyncio.ensure_future(
            cast(Coroutine[Any, Any, None], self.app(scope, receive, send_begun))
        )
        try:
            done, _ = await asyncio.wait(
                {answering, begun}, timeout=self.seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                await answering
                return
        finally:
            # not awaited: a thread that it waits for may go on
            answering.cancel()
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1011})
        else:
            error = f"nothing was answered within {self.seconds:g} seconds"
            await JSONResponse({"error": error}, status_code=504)(scope, receive, send)
