"""Clients that put a service under load, in a process of their own.

They speak HTTP over plain sockets, so that they take little of the processor time that the service
on the same machine needs.
"""

import asyncio
import json
import random
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

WAIT_S = 120.0  # for one answer


@dataclass(frozen=True)
class Reply:
    """What became of one request."""

    status: int  # of HTTP; 0: the connection broke
    sent: float  # on the clock of time.monotonic()
    seconds: float  # from the first byte sent to the last byte received
    body: dict[str, Any]
    retry_after: float = 0.0  # seconds, of the header Retry-After


class Connection:
    """A keep-alive connection of one client, opened anew after it broke."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, request: bytes) -> Reply:
        """Send a whole request, and wait for its answer."""
        sent = time.monotonic()
        try:
            async with asyncio.timeout(WAIT_S):
                if self._streams and self._streams[0].at_eof():
                    # the service has closed it, since it was idle for long
                    await self.close()
                if self._streams is None:
                    self._streams = await asyncio.open_connection(self._host, self._port)
                reader, writer = self._streams
                writer.write(request)
                await writer.drain()
                status, headers, body = await _answer(reader)
        except (OSError, EOFError, TimeoutError, ValueError):
            await self.close()
            return Reply(0, sent, time.monotonic() - sent, {})
        seconds = time.monotonic() - sent
        if headers.get("connection") == "close":
            await self.close()
        return Reply(status, sent, seconds, body, float(headers.get("retry-after", 0)))

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            with suppress(OSError):
                await self._streams[1].wait_closed()
        self._streams = None


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.strip().lower(): value.strip().lower() for name, _, value in pairs}
    content = await reader.readexactly(int(headers["content-length"]))
    body = json.loads(content) if "json" in headers.get("content-type", "") else {}
    return int(head[0].split()[1]), headers, body


def upload(video: bytes) -> bytes:
    """The request POST /predict with a video."""
    boundary = secrets.token_hex(16)
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="video"; filename="a.avi"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode() + video
    body += f"\r\n--{boundary}--\r\n".encode()
    head = (
        "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def closed_loop(
    url: str, requests: Sequence[bytes], *, clients: int, seconds: float
) -> list[Reply]:
    """Replies to clients that each send their next request as soon as the last is answered.

    A client that is told to try again later does so once the time that Retry-After names is over.
    """
    until = time.monotonic() + seconds
    replies: list[Reply] = []

    async def client(number: int) -> None:
        connection, order = Connection(url), random.Random(number)
        while time.monotonic() < until:
            reply = await connection.post(order.choice(requests))
            replies.append(reply)
            if reply.status == 429:
                await asyncio.sleep(reply.retry_after)
        await connection.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return replies


async def fixed_rate(
    url: str, requests: Sequence[bytes], *, per_second: float, seconds: float, seed: int = 0
) -> list[Reply]:
    """Replies to requests that arrive at random (Poisson) moments, answered or not the last ones.

    A reply's seconds count from the moment at which the request was due.
    """
    order = random.Random(seed)
    free: list[Connection] = []
    replies: list[Reply] = []

    async def one(due: float) -> None:
        connection = free.pop() if free else Connection(url)
        reply = await connection.post(order.choice(requests))
        late = time.monotonic() - due
        replies.append(Reply(reply.status, due, late, reply.body, reply.retry_after))
        free.append(connection)

    due, until = time.monotonic(), time.monotonic() + seconds
    async with asyncio.TaskGroup() as tasks:
        while due < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.create_task(one(due))
            due += order.expovariate(per_second)
    for connection in free:
        await connection.close()
    return replies
