"""What each request holds of the service while it is answered: time, disk and a turn."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_KEY = "kinoflow.visit"


class Refusal(Exception):
    """The request cannot be answered. Its text says why, in words for whoever sent it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status  # of HTTP


class Visits:
    """ASGI middleware that gives each request a `Visit`, and takes back what it held.

    Args:
        app: the application.
        seconds: from the arrival of a request's headers to its answer.
        turns: how many requests are answered at once, once their uploads are there.
        megabytes: how much all uploads together may hold; what one may, times `turns`.
    """

    def __init__(self, app: App, *, seconds: float, turns: int, megabytes: float) -> None:
        self.app = app
        self.seconds = seconds
        self.free_turns = turns
        self.free_bytes = round(megabytes * 1e6)
        # uploads on their way, the oldest first
        self.arriving: dict[Visit, asyncio.Timeout] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        visit = scope[_KEY] = Visit(self)
        try:
            await self.app(scope, receive, send)
        finally:
            visit.end()


class Visit:
    """One request. All of this but `deadline` is for the thread of the event loop."""

    def __init__(self, visits: Visits) -> None:
        self.deadline = time.monotonic() + visits.seconds
        self._visits = visits
        self._has_turn = False
        self._bytes = 0

    @property
    def left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    @asynccontextmanager
    async def arriving(self) -> AsyncIterator[None]:
        """Receive an upload. Raises TimeoutError at the deadline, or to make room for others."""
        async with asyncio.timeout(self.left) as timeout:
            self._visits.arriving[self] = timeout
            try:
                yield
            finally:
                del self._visits.arriving[self]

    def grow(self, size: int) -> None:
        """Take `size` more bytes, where need be from the uploads that have taken longest so far.

        Raises Refusal (503) if what is there already leaves no room.
        """
        for other, timeout in self._visits.arriving.items():
            if size <= self._visits.free_bytes:
                break
            if other is not self and other._bytes:
                other.end()
                if not timeout.expired():
                    timeout.reschedule(0)
        if size > self._visits.free_bytes:
            raise Refusal(503, "too many large videos are on their way just now: try again later")
        self._visits.free_bytes -= size
        self._bytes += size

    def take_turn(self) -> None:
        """Take one of the turns. Raises Refusal (429) if there is none."""
        if not self._visits.free_turns:
            raise Refusal(429, "too many videos are being answered just now: try again in a second")
        self._visits.free_turns -= 1
        self._has_turn = True

    def end(self) -> None:
        """Give back all that is held."""
        self._visits.free_turns += self._has_turn
        self._visits.free_bytes += self._bytes
        self._has_turn, self._bytes = False, 0


def of(scope: Message) -> Visit:
    """The visit of a request by its ASGI scope."""
    visit: Visit = scope[_KEY]
    return visit
