"""A Prefect server for those who have none: it lives as long as the command that needs it."""

import contextlib
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator

from prefect.settings import get_current_settings

from kinoflow.console import UserError
from kinoflow.leash import leashed

_HOST = "127.0.0.1"
_STARTS_WITHIN = 120.0  # seconds; a free machine takes 10

# Left to itself a server forgets on ending who holds a place under a concurrency limit, yet not
# that it is taken: after a power cut nothing would ever run again.
_REMEMBERING = {
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
        "prefect.server.concurrency.lease_storage.filesystem"
    )
}


def is_known() -> bool:
    """Whether Prefect's settings, the environment or the profile, name a server to talk to."""
    return bool(get_current_settings().api.url)


def run_beside(module: str, port: int = 0) -> int:
    """Start a server, run `python -m <module>` with it, and return that command's exit code.

    The server listens at `port` if that is free, else, or where it is 0, at any that is. Both
    end with this process. The command has to be one of its own: Prefect sends the last of its
    logs while Python exits, and the server must outlive that. Raises UserError if the server
    does not start.
    """
    # an orderly end, so that what was running can still tell the server that it ended
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with (
        _running(_free_port(port)) as url,
        leashed(
            [sys.executable, "-m", module], env=os.environ | {"PREFECT_API_URL": url}
        ) as command,
    ):
        return command.wait()


@contextlib.contextmanager
def _running(port: int) -> Iterator[str]:
    """Start a server that keeps its database in PREFECT_HOME; yield the URL of its API."""
    url = f"http://{_HOST}:{port}/api"
    home = get_current_settings().home
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    command = [sys.executable, "-m", "prefect", "server", "start"]
    command += ["--host", _HOST, "--port", str(port)]
    print(f"starting a Prefect server: http://{_HOST}:{port}", file=sys.stderr)
    with (
        log.open("a", encoding="utf-8") as output,
        leashed(command, env=_REMEMBERING | os.environ, stdout=output, stderr=output) as process,
    ):
        deadline = time.monotonic() + _STARTS_WITHIN
        while not _healthy(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError(f"the Prefect server does not start: {log} says why")
            time.sleep(0.2)
        yield url


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # a port where a server has just ended counts as free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_HOST, port))
            return int(probe.getsockname()[1])
    raise UserError(f"no port is free on {_HOST}")


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False
