"""The process that answers requests: `python -m serving.worker FD`, started by serving.server."""

import asyncio
import gc
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn

from serving import checking, handover, logs, settings
from serving.asgi import App, Message, Receive, Send
from serving.connections import Connection
from serving.handover import STARTUP_FAILURE
from serving.live import MOST_MESSAGE
from serving.supervising import DRAIN_EXTRA_S

# the folder of the Bento: this file is src/serving/worker.py in it
BENTO = Path(__file__).resolve().parent.parent.parent
_FINISH_WITHIN_S = 10  # for requests that are being answered when the server is told to stop


class Checked:
    """An ASGI application that has only started once it has answered its check videos right."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_checked(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                try:
                    await checking.check(self.app, settings.load())
                except Exception as problem:  # noqa: BLE001 whatever it is, it must not answer others
                    message = {"type": "lifespan.startup.failed", "message": str(problem)}
            if message["type"] == "lifespan.startup.failed":
                lines = message.get("message", "").strip().splitlines()
                handover.tell(handover.FAILED + (lines[-1] if lines else "it does not start"))
            await send(message)

        await self.app(scope, receive, send_checked)


class Server(uvicorn.Server):
    """Answers requests until it is told to end, or to leave them to another process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.leave_to_others = False
        self.leave_by: float | None = None  # on the clock of time.monotonic()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        from serving.service import ROUTES

        await super().startup(sockets)
        if self.started:
            # what the service is made of stays: garbage collection need not look at it again
            gc.collect()
            gc.freeze()
            self.working = ROUTES.state.working
            self.working.start()
            signal.signal(signal.SIGUSR1, self._leave)
            handover.tell(handover.READY)

    def _leave(self, _number: int, _frame: object) -> None:
        self.leave_to_others = True

    async def on_tick(self, counter: int) -> bool:
        if self.leave_to_others and self.leave_by is None:
            self.leave_by = time.monotonic() + settings.load().timeout_s + DRAIN_EXTRA_S
            self._drain()
        elif self.leave_by is not None and not self.server_state.connections:
            return True
        late = self.leave_by is not None and time.monotonic() > self.leave_by
        return late or await super().on_tick(counter)

    def _drain(self) -> None:
        """Take no new connections and no jobs, and have clients leave after their next answer.

        A connection without a request stays open for as long as always. If it were closed now, the
        client might be sending its next request, which would be lost.
        """
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for listening in server.sockets:
                # not closed yet: asyncio would drop connections that it is about to set up
                loop.remove_reader(listening.fileno())
        close = (b"connection", b"close")
        self.config.encoded_headers.append(close)
        self.server_state.default_headers = [*self.server_state.default_headers, close]
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.close_after_answer()
            else:
                # a websocket: with 1012, the client connects again
                connection.shutdown()
        # in a thread, since it waits for the job that runs
        self.stopped = loop.run_in_executor(None, self.working.stop)


def application() -> Any:
    """The Bento as an ASGI application."""
    import bentoml
    from bentoml._internal.configuration.containers import BentoMLContainer

    from serving import paths, time_bound, tracing

    service: Any = bentoml.load(str(BENTO), standalone_load=True)
    # BentoML's metrics are labelled with these; `bentoml serve` sets them in the same way
    context = bentoml.server_context
    context.service_type, context.service_name = "entry_service", service.name
    context.bento_name, context.bento_version = service.bento.tag.name, service.bento.tag.version
    context.worker_index = 1
    app = tracing.only_for(service.to_asgi(), BentoMLContainer.tracing.exporter_type.get())
    return Checked(paths.bound(time_bound.replace(app)))


def main(arguments: Sequence[str]) -> None:
    config = uvicorn.Config(
        application,
        factory=True,
        loop="asyncio",
        http=Connection,
        ws="wsproto",
        ws_max_size=MOST_MESSAGE,
        ws_per_message_deflate=False,  # what is compressed may be a bomb
        lifespan="on",
        log_config=logs.CONFIG,
        access_log=False,  # BentoML keeps one
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_FINISH_WITHIN_S,
    )
    try:
        config.load()
    except (Exception, SystemExit) as problem:  # noqa: BLE001 the next worker would fail in the same way
        traceback.print_exc()
        handover.tell(f"{handover.FAILED}{type(problem).__name__}: {problem}")
        sys.exit(STARTUP_FAILURE)
    server = Server(config)
    server.run(sockets=[socket.socket(fileno=int(arguments[0]))])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    main(sys.argv[1:])
