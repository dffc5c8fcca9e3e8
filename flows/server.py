"""A Prefect server for those who have none: it lives as long as the command that needs it.

It listens on this machine alone, yet any user of the machine and any page in a browser can reach
it there. So it answers nobody without a login that is drawn at each start.
"""

import contextlib
import os
import secrets
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from prefect.settings import get_current_settings

from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.system.supervisor import run_supervised

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

    Both end with this process. The command has to be one of its own: Prefect sends the last of
    its logs while Python exits, and the server must outlive that. Raises UserError as `running`
    does.
    """
    # an orderly end, so that what was running can still tell the server that it ended
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with (
        running(port) as access,
        run_supervised([sys.executable, "-m", module], env=os.environ | access) as command,
    ):
        return command.wait()


@contextlib.contextmanager
def running(port: int = 0) -> Iterator[dict[str, str]]:
    """Start a server with its database in PREFECT_HOME; yield what its clients' environment needs.

    The server listens at `port` if that is free, else, or where it is 0, at any that is. Raises
    UserError if it does not start.
    """
    port = _free_port(port)
    home = get_current_settings().home
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    origin, login = f"http://{_HOST}:{port}", f"kinoflow:{secrets.token_urlsafe(24)}"
    command = [sys.executable, "-m", "prefect", "server", "start"]
    command += ["--host", _HOST, "--port", str(port)]
    with (
        _told(home / f"login-{port}", origin, login),
        log.open("a", encoding="utf-8") as output,
        run_supervised(
            command,
            env=_REMEMBERING | os.environ | _closed(origin, login),
            stdout=output,
            stderr=output,
        ) as process,
    ):
        deadline = time.monotonic() + _STARTS_WITHIN
        # somebody else may have taken the port meanwhile, and would be told what to log in with
        while not (_listens(process.pid, port) and _healthy(origin)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError(f"the Prefect server does not start: {log} says why")
            time.sleep(0.2)
        yield {"PREFECT_API_URL": f"{origin}/api", "PREFECT_API_AUTH_STRING": login}


def _closed(origin: str, login: str) -> dict[str, str]:
    """The settings of a server that knows one login, and one page in a browser: its own.

    They are set in the environment, which other users cannot see, as they can command lines.
    """
    return {
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": origin,
        # else its page would send the login to whoever listens at Prefect's usual port
        "PREFECT_SERVER_UI_API_URL": f"{origin}/api",
    }


@contextlib.contextmanager
def _told(file: Path, origin: str, login: str) -> Iterator[None]:
    """Tell the user, and nobody else, how to log in: on the terminal, and in a file meanwhile.

    Where stderr is no terminal the file alone says it, since others may read what becomes of it.
    """
    with files.replacing(file) as partial:
        partial.touch(mode=0o600)
        partial.write_text(f"{login}\n", encoding="utf-8")
    how = login if sys.stderr.isatty() else f"what {file} says"
    print(f"starting a Prefect server: {origin}, log in with {how}", file=sys.stderr)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # a port where a server has just ended counts as free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_HOST, port))
            return int(probe.getsockname()[1])
    raise UserError(f"no port is free on {_HOST}")


def _listens(pid: int, port: int) -> bool:
    """Whether the process, or one below it, is who listens at the port."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return any(
            socket.status == psutil.CONN_LISTEN and socket.laddr.port == port
            for relative in [process, *process.children(recursive=True)]
            for socket in relative.net_connections("tcp")
        )
    return False


def _healthy(origin: str) -> bool:
    try:
        with urllib.request.urlopen(f"{origin}/api/health", timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False
