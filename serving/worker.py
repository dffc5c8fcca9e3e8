"""The process that answers requests: `python -m serving.worker FD`, started by serving.server."""

import shutil
import socket
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from serving import logs
from serving.server import STARTUP_FAILURE

# of the Bento: src/ lies in it, and this file in src/serving/
BENTO = Path(__file__).resolve().parent.parent.parent
_LET_FINISH_S = 10  # what is being answered when the server is told to stop


def application() -> Any:
    """The Bento as an ASGI application."""
    import bentoml

    for left in Path(tempfile.gettempdir()).glob("kinoflow-upload-*"):
        # of a worker that was killed: this one has answered nothing yet
        shutil.rmtree(left, ignore_errors=True)
    # a Service of today's kind or of an older one, as far as types know
    service: Any = bentoml.load(str(BENTO), standalone_load=True)
    # what `bentoml serve` sets: its metrics carry these as labels
    context = bentoml.server_context
    context.service_type, context.service_name = "entry_service", service.name
    context.bento_name, context.bento_version = service.bento.tag.name, service.bento.tag.version
    context.worker_index = 1
    return service.to_asgi()


def main() -> None:
    import uvicorn

    from serving.connections import Connection

    config = uvicorn.Config(
        application,
        factory=True,
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=logs.CONFIG,
        access_log=False,  # BentoML keeps one
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_LET_FINISH_S,
    )
    try:
        config.load()
    except (Exception, SystemExit):  # noqa: BLE001 whatever a Bento raises, so would the next worker
        traceback.print_exc()
        sys.exit(STARTUP_FAILURE)
    server = uvicorn.Server(config)
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    main()
