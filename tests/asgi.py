"""Requests to an ASGI application in this process."""

import asyncio
from typing import Any

import httpx

from serving.asgi import App


class Client:
    """Asks an ASGI application in this process."""

    def __init__(self, application: App) -> None:
        self.application: Any = application

    def __call__(self, method: str, path: str, **request: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.application)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                return await http.request(method, path, **request)

        return asyncio.run(ask())
