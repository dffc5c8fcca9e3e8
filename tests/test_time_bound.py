"""What does not begin to answer in time gets 504, and what is answered leaves nothing behind."""

import asyncio
import gc
import weakref
from contextvars import ContextVar

import httpx
import pytest
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from serving import time_bound
from serving.asgi import App, Message, Receive, Send

CURRENT: ContextVar[object] = ContextVar("CURRENT")


class Held:
    """What belongs to a request."""


class Holding:
    """Middleware that sets what belongs to a request, as BentoML does."""

    def __init__(self, app: App, alive: "weakref.WeakSet[Held]") -> None:
        self.app = app
        self.alive = alive

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        held = Held()
        self.alive.add(held)
        CURRENT.set(held)
        await self.app(scope, receive, send)


async def quick(_: Request) -> PlainTextResponse:
    return PlainTextResponse("quick")


async def slow(_: Request) -> PlainTextResponse:
    await asyncio.sleep(30)
    return PlainTextResponse("slow")


async def fails(_: Request) -> PlainTextResponse:
    raise ValueError("a bug")


async def long(_: Request) -> StreamingResponse:
    async def parts():
        yield "be"
        await asyncio.sleep(0.6)
        yield "gun"

    return StreamingResponse(parts())


async def never_accepts(_: WebSocket) -> None:
    await asyncio.sleep(30)


async def talks(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.sleep(0.6)
    await websocket.send_text("here")
    await websocket.close()


def application(alive: "weakref.WeakSet[Held]", seconds: float) -> Starlette:
    routes = [Route(f"/{each.__name__}", each) for each in (quick, slow, fails, long)]
    sockets = [WebSocketRoute(f"/{each.__name__}", each) for each in (never_accepts, talks)]
    middleware = [Middleware(Holding, alive=alive), Middleware(TimeoutMiddleware, timeout=seconds)]
    return Starlette(routes=[*routes, *sockets], middleware=middleware)


@pytest.mark.parametrize("replaced", [True, False], ids=["ours", "BentoML's"])
def test_what_is_answered_leaves_nothing_behind(replaced: bool) -> None:
    alive: weakref.WeakSet[Held] = weakref.WeakSet()
    app = application(alive, 60)

    async def ask() -> int:
        transport = httpx.ASGITransport(time_bound.replace(app) if replaced else app)
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            # asyncio forgets cancelled timers once they are many
            for _ in range(500):
                assert (await client.get("/quick")).text == "quick"
        gc.collect()
        return len(alive)

    left = asyncio.run(ask())
    # once BentoML stops its timers itself, ours can go
    assert left < 150 if replaced else left == 500


def test_it_begins_in_time_or_is_ended() -> None:
    app = time_bound.replace(application(weakref.WeakSet(), 0.3))
    with TestClient(app) as client:
        late = client.get("/slow")
        assert (late.status_code, late.json()) == (
            504,
            {"error": "nothing was answered within 0.3 seconds"},
        )
        assert client.get("/long").text == "begun"
        with pytest.raises(ValueError, match="a bug"):
            client.get("/fails")
        with client.websocket_connect("/talks") as websocket:
            assert websocket.receive_text() == "here"
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/never_accepts"):
            pass
