"""Serve the Bento that holds this file: `python -m serving.server`, in the Bento's folder `src`.

uvicorn's supervisor holds the one port that listens, starts a worker and starts it again
whenever it dies. `bentoml serve` would do the same with a supervisor that listens on a port of
its own and starts any program for whoever on this machine asks it to.
"""

import argparse
import os
import resource
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.applications import Starlette

# of the Bento: src/ lies in it, and this file in src/serving/
BENTO = Path(__file__).resolve().parent.parent.parent
# seconds without an answer after which a worker is taken to hang; loading a model is no reason
_HANGS_AFTER = 120


def application() -> "Starlette":
    """The Bento as an ASGI application; called in the worker."""
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
    app: Starlette = service.to_asgi()
    return app


def serve(host: str, port: int) -> None:
    """Serve at an IP address and port until SIGTERM or Ctrl-C.

    Raises OSError if nothing can listen there, and SystemExit if the worker does not start.
    """
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from serving import logs

    # each connection is a file; so many of them are let in as this allows
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    config = uvicorn.Config(
        "serving.server:application",
        factory=True,
        http="serving.connections:Connection",
        ws="none",
        lifespan="on",
        log_config=logs.CONFIG,
        access_log=False,  # BentoML keeps one
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
        timeout_worker_healthcheck=_HANGS_AFTER,
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.create_server((host, port), family=family, backlog=config.backlog) as listening,
        tempfile.TemporaryDirectory(prefix="kinoflow-metrics-") as metrics,
    ):
        # prometheus_client adds up in here what each worker counted
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
        supervisor = Multiprocess(config, sockets=[listening])
        supervisor.run()
        if any(process.exitcode for process in supervisor.processes):
            sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m serving.server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="an IP address; default: %(default)s")
    parser.add_argument("--port", type=int, default=3000, help="default: %(default)s")
    parser.add_argument(
        "--allow-host",
        action="append",
        metavar="NAME",
        help="answer requests to this host name as well as to IP addresses and localhost; may be "
        "given several times, and * allows every name. Also KINOFLOW_HOSTS, with commas",
    )
    arguments = parser.parse_args()
    if arguments.allow_host:
        os.environ["KINOFLOW_HOSTS"] = ",".join(arguments.allow_host)
    serve(arguments.host, arguments.port)


if __name__ == "__main__":
    main()
