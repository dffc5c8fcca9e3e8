"""Serve a .bento file: `python -m serving [--bento FILE] [--port N] [--host ADDRESS]`."""

import argparse
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

from kinoflow.system import locks
from kinoflow.system.errors import UserError, run
from kinoflow.system.supervisor import run_supervised
from kinoflow.workspace import Workspace
from serving import settings, state
from serving.bentos import extract_bento, newest

PREFIX = "kinoflow-serve-"  # of the temporary folders of servers
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def address(host: str, port: int) -> str:
    """The IP address of `host`. Raises UserError unless a server can listen on its `port`."""
    try:
        family, _, _, _, (ip, *_) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        socket.create_server((str(ip), port), family=family).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"cannot serve on {host} port {port}: {error}; choose with --host and --port"
        ) from None
    return str(ip)


def serve(
    bento: Path, ip: str, port: int, host_names: list[str], state_folder: Path | None = None
) -> int:
    """Serve a .bento file until the server ends by itself; return its exit code.

    All that the server writes, BentoML's own files included, lies in a temporary folder, but for
    its state.

    Args:
        bento: the file.
        ip: the IP address to listen at.
        port: the port to listen at.
        host_names: requests to these are answered, besides those to IP addresses and localhost.
        state_folder: of the service's state; None: as the environment or the Bento's settings say.

    Raises UserError for a file that is no whole Bento, and for a state that another service has.
    """
    with locks.temporary_folder(PREFIX, "serving") as folder:
        extract_bento(bento, folder / "bento")
        (folder / "tmp").mkdir()
        state_folder = state_folder.absolute() if state_folder else _state(folder)
        # the worker takes it for good; here a mistake is one line, and not a traceback
        os.close(state.take(state_folder))
        print(f"serving {bento} at http://{ip}:{port} until Ctrl-C", flush=True)
        command = [sys.executable, "-m", "serving.server", "--host", ip, "--port", str(port)]
        environment = {
            **os.environ,
            "BENTOML_HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            state.VARIABLE: str(state_folder),
        }
        # the server must import the Bento's code, not what the user's PYTHONPATH names
        environment.pop("PYTHONPATH", None)
        with run_supervised(
            [*command, *(f"--allow-host={name}" for name in host_names)],
            cwd=folder / "bento" / "src",
            env=environment,
        ) as server:
            return server.wait()


def _state(folder: Path) -> Path:
    """The folder of the state by the settings of the Bento that was extracted in `folder`."""
    return state.folder(settings.load(folder / "bento" / "src" / "serving.json").state)


def _stop(_number: int, _frame: object) -> NoReturn:
    for number in _STOPPING:
        # one signal is enough: a second must not cut cleaning up short
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve a .bento file.")
    parser.add_argument("--bento", type=Path, help=f"default: the newest in {Workspace().dist}/")
    parser.add_argument("--port", type=int, default=3000, help="default: %(default)s")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="default: %(default)s, this machine alone; 0.0.0.0 opens it to the network, where "
        "anybody may use it",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer requests to this host name as well as to IP addresses and localhost; may be "
        "given several times, and * allows every name",
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FOLDER",
        help="where feedback and jobs are kept from one start to the next; default: "
        f"{state.VARIABLE} in the environment, or the setting serving.state",
    )
    arguments = parser.parse_args()
    bento = arguments.bento or newest(Workspace().dist)
    ip = address(arguments.host, arguments.port)
    for number in _STOPPING:
        signal.signal(number, _stop)
    try:
        code = serve(bento, ip, arguments.port, arguments.allow_host, arguments.state)
    except KeyboardInterrupt:
        return
    raise UserError(f"the server ended by itself with exit code {code}: see its messages above")


if __name__ == "__main__":
    run(main)
