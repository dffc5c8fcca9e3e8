"""A Prefect server for users without one: it runs as long as the command that needs it.

It listens on this machine only. Since every user of the machine and every page in a browser can
reach it there, it asks for a login. The login is drawn at random once, and kept in a file that only
its user can read.
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
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import get_current_settings

from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.system.supervisor import run_supervised, wait

LOGIN = "login"  # the file in PREFECT_HOME that holds it

_HOST = "127.0.0.1"
_OTHERS = 0o077  # the bits of a file's mode that let others do something with it
_DATABASE = "PREFECT_SERVER_DATABASE_"
_STARTS_WITHIN = 120.0  # seconds; a free machine takes 10

# By default a server that ends forgets which runs hold a concurrency limit, but not that the limit
# is held. After a power cut no run would ever start again.
_LEASES_ON_DISK = {
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
        "prefect.server.concurrency.lease_storage.filesystem"
    )
}


def is_known() -> bool:
    """Whether Prefect's settings (environment or profile) name a server."""
    return bool(get_current_settings().api.url)


def run_beside(module: str, port: int = 0) -> int:
    """Run `python -m <module>` beside a server, and return that command's exit code.

    The server is that of Prefect's settings. If they name none, one is started. All processes end
    with this one. The command has to be a process of its own: Prefect sends its last logs while
    Python exits, and the server must still run then. Raises UserError if the server does not start.
    """
    # an exception instead of sudden death, so that a running flow can tell the server that it ended
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    beside: contextlib.AbstractContextManager[dict[str, str]]
    beside = contextlib.nullcontext({}) if is_known() else running(port)
    with (
        beside as access,
        run_supervised([sys.executable, "-m", module], env=_environment() | access) as command,
    ):
        return wait(command)


def _environment() -> dict[str, str]:
    """The environment without the password of the database, which is for the server alone."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_DATABASE)}


def wait_for(client: SyncPrefectClient) -> None:
    """Wait until a server answers, which may be starting. Raises UserError if it does not."""
    deadline = time.monotonic() + _STARTS_WITHIN
    while error := client.api_healthcheck():
        if time.monotonic() > deadline:
            raise UserError(f"no Prefect server answers at {client.api_url}: {error}")
        time.sleep(1)


@contextlib.contextmanager
def running(port: int = 0) -> Iterator[dict[str, str]]:
    """Start a server with its database in PREFECT_HOME; it ends with the block.

    Yields the environment variables that its clients need. The server listens at `port`, or at
    any free one if that is taken or 0. Raises UserError if it does not start.
    """
    port = _free_port(port)
    home = get_current_settings().home
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    origin, login = f"http://{_HOST}:{port}", _login(home / LOGIN)
    command = [sys.executable, "-m", "prefect", "server", "start"]
    command += ["--host", _HOST, "--port", str(port)]
    # others may read the output where it is no terminal
    how = login if sys.stderr.isatty() else f"what {home / LOGIN} says"
    print(f"starting a Prefect server: {origin}, log in with {how}", file=sys.stderr)
    with (
        log.open("a", encoding="utf-8") as output,
        run_supervised(
            command,
            env=_LEASES_ON_DISK | os.environ | _access(origin, login),
            stdout=output,
            stderr=output,
        ) as process,
    ):
        deadline = time.monotonic() + _STARTS_WITHIN
        # Checked, since another program may have taken the port meanwhile, and clients would send
        # the login to it.
        while not (_listens(process.pid, port) and _healthy(origin)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError(f"the Prefect server does not start: {log} says why")
            time.sleep(0.2)
        yield {"PREFECT_API_URL": f"{origin}/api", "PREFECT_API_AUTH_STRING": login}


def _access(origin: str, login: str) -> dict[str, str]:
    """The settings of a server that asks for this login and lets in no pages but its own.

    They go into the environment, because other users can read command lines.
    """
    return {
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": origin,
        # else its page would send the login to whatever listens at Prefect's usual port
        "PREFECT_SERVER_UI_API_URL": f"{origin}/api",
    }


def _login(file: Path) -> str:
    """The login that a file holds; one is drawn if there is no such file, or others can read it."""
    if file.exists():
        about = file.stat()
        if about.st_uid == os.getuid() and not about.st_mode & _OTHERS:
            login = file.read_text(encoding="utf-8").strip()
            if all(login.partition(":")):
                return login
        file.unlink()
        print(f"{file} held no login, or others could read it: a new one is drawn", file=sys.stderr)
    drawn = file.with_name(f"{files.TEMPORARY}{secrets.token_hex(8)}")
    drawn.touch(mode=0o600)
    drawn.write_text(f"kinoflow:{secrets.token_urlsafe(24)}\n", encoding="utf-8")
    # unlike a renaming, this keeps a login that another command has drawn meanwhile
    with contextlib.suppress(FileExistsError):
        os.link(drawn, file)
    drawn.unlink()
    return file.read_text(encoding="utf-8").strip()


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # a port where a server has just ended counts as free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_HOST, port))
            return int(probe.getsockname()[1])
    raise UserError(f"no port is free on {_HOST}")


def _listens(pid: int, port: int) -> bool:
    """Whether the process, or a descendant of it, listens at the port."""
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
