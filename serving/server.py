"""Serve the Bento that holds this file: `python -m serving.server`, in the Bento's folder `src`.

This process listens on the one port, starts a worker that answers requests, and starts another if
that one dies. It replaces the supervisors of BentoML and of uvicorn. The one of `bentoml serve`
listens on a second port, over which every user of the machine can start programs. The one of
uvicorn sometimes takes a killed worker for alive until its health check times out.
"""

import argparse
import os
import resource
import signal
import socket
import sys
import tempfile
import time

STARTUP_FAILURE = 3  # exit code of a worker that cannot start: it is not started again
_RESTART_AFTER_S = 1.0
_STOPPING = (signal.SIGTERM, signal.SIGINT)


def serve(host: str, port: int) -> int:
    """Serve at an IP address and port until SIGTERM or Ctrl-C; return an exit code.

    Raises OSError if nothing can listen there.
    """
    # each connection is an open file, so this bounds their number
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.create_server((host, port), family=family, backlog=1024) as listening,
        tempfile.TemporaryDirectory(prefix="kinoflow-metrics-") as metrics,
    ):
        listening.set_inheritable(True)
        # prometheus_client adds up the counts of all workers from the files in here
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
        return _supervise([sys.executable, "-m", "serving.worker", str(listening.fileno())])


def _supervise(command: list[str]) -> int:
    """Run the command until a signal says to stop; start it again whenever it ends by itself."""
    worker, stopped = 0, False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True
        if worker:
            os.kill(worker, signal.SIGTERM)

    for number in _STOPPING:
        signal.signal(number, stop)
    while True:
        # blocked: a signal before `worker` is set would not be passed on to it
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        worker = os.posix_spawn(command[0], command, os.environ, setsigmask=[])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        code = _wait_for(worker)
        worker = 0
        if stopped:
            return 0
        if code == STARTUP_FAILURE:
            return code
        print(f"the worker ended with code {code}: another is started", file=sys.stderr, flush=True)
        time.sleep(_RESTART_AFTER_S)
        if stopped:
            return 0


def _wait_for(worker: int) -> int:
    """Wait for the end of the worker and return its exit code, or minus its signal."""
    while True:
        # As the first process of a container, this one also becomes the parent of a killed worker's
        # children, and waits for those too.
        pid, status = os.wait()
        if pid == worker:
            return os.waitstatus_to_exitcode(status)


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
    sys.exit(serve(arguments.host, arguments.port))


if __name__ == "__main__":
    main()
