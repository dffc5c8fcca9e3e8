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

# the folder of the Bento: this file is src/serving/worker.py in it
BENTO = Path(__file__).resolve().parent.parent.parent
_FINISH_WITHIN_S = 10  # for requests that are being answered when the server is told to stop


def application() -> Any:
    """The Bento as an ASGI application."""
    import bentoml

    from serving import paths
    from serving.uploads import PREFIX

    for upload in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # a killed worker left it: this one has answered nothing yet
        shutil.rmtree(upload, ignore_errors=True)
    service: Any = bentoml.load(str(BENTO), standalone_load=True)
    # BentoML's metrics are labelled with these; `bentoml serve` sets them in the same way
    context = bentoml.server_context
    context.service_type, context.service_name = "entry_service", service.name
    context.bento_name, context.bento_version = service.bento.tag.name, service.bento.tag.version
    context.worker_index = 1
    return paths.bound(service.to_asgi())


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
        timeout_graceful_shutdown=_FINISH_WITHIN_S,
    )
    try:
        config.load()
    except (Exception, SystemExit):  # noqa: BLE001 the next worker would fail in the same way
        traceback.print_exc()
        sys.exit(STARTUP_FAILURE)
    server = uvicorn.Server(config)
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    main()
