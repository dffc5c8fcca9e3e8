"""Bounds on connections, so that slow clients cannot use them up.

uvicorn itself bounds neither their number, nor how long a client takes to send the headers of a
request or to read an answer.
"""

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 10.0  # seconds from the connection, or a request's first byte, to its last header
READING_S = 30.0  # seconds that an answer may wait for the client to read on
_MOST = 1000  # connections at a time; each may hold 64 KiB of headers


class Connection(H11Protocol):
    """One client's connection.

    When there are more than `limit()`, the connection that has waited longest for its client is
    closed. So a client that sends its request at once always gets through.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.since = self.loop.time()
        self.timer: asyncio.TimerHandle | None = None
        self.upgraded = False
        super().connection_made(transport)
        if len(self.connections) > limit():
            self._make_room()
        self._end_after(HEADERS_S)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.upgraded or not self.is_between_requests:
            self._end_after(None)
        elif self.timer is None:
            self._end_after(HEADERS_S)

    def handle_websocket_upgrade(self, event: Any) -> None:
        # from here on, serving.live bounds how long its client may take
        self.upgraded = True
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._end_after(READING_S)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_after(HEADERS_S if self.is_between_requests else None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_after(None)
        super().connection_lost(exc)

    @property
    def is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_sending(self) -> bool:
        """Whether the client has sent the headers of a request, but not yet all of its body."""
        return not self.is_between_requests and self.cycle.more_body

    @property
    def waits_for_client(self) -> bool:
        return self.is_between_requests or self.is_sending

    def close_after_answer(self) -> None:
        """Have the answer that is being made, if there is one, say that it is the last."""
        if not self.is_between_requests and not self.cycle.response_started:
            self.cycle.default_headers = [*self.cycle.default_headers, (b"connection", b"close")]

    def end(self) -> None:
        """Close at once, even if the client has not read all that was sent."""
        self.transport.abort()

    def _make_room(self) -> None:
        others = [
            other
            for other in self.connections
            if isinstance(other, Connection) and other is not self and other.waits_for_client
        ]
        # first those that have not sent all their headers, then those that are uploading
        min(others, key=lambda other: (other.is_sending, other.since), default=self).end()

    def _end_after(self, seconds: float | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None if seconds is None else self.loop.call_later(seconds, self.end)


def limit() -> int:
    """How many connections there may be: at most half of the files that this process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST, files // 2)
