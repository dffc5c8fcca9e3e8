"""Serve a .bento file: `python -m serving [--bento FILE] [--port N] [--host ADDRESS]`."""

import argparse
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

from kinoflow.system import locks
from kinoflow.system.errors import UserError, run
from kinoflow.system.supervisor import run_supervised, wait
from kinoflow.workspace import Workspace
from serving import keys, state
from serving.server import PREFIX

_TOLD = 2  # exit code of a server that has said in one line why it cannot serve
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
    bento: Path | None,
    ip: str,
    port: int,
    host_names: list[str],
    state_folder: Path | None = None,
    keys_file: Path | None = None,
    *,
    without_keys: bool = False,
    watch: bool = True,
) -> int:
    """Serve a .bento file until the server ends by itself; return its exit code.

    All that the server writes, BentoML's own files included, lies in a temporary folder, but for
    its state.

    Args:
        bento: the file; None: the champion or, without one, the newest.
        ip: the IP address to listen at.
        port: the port to listen at.
        host_names: requests to these are answered, besides those to IP addresses and localhost.
        state_folder: of the service's state; None: as the environment or the Bento's settings say.
        keys_file: the file of keys; None: as the environment or the Bento's settings say.
        without_keys: whether to demand no keys.
        watch: whether to change to another Bento when there is one.
    """
    with locks.temporary_folder(PREFIX, "serving") as folder:
        (folder / "server").mkdir()
        command = [
            *(sys.executable, "-m", "serving.server", "--host", ip, "--port", str(port)),
            *(f"--champion={Workspace().champion}", f"--folder={folder / 'server'}"),
            *([f"--bento={bento}"] if bento else []),
            *([f"--state={state_folder}"] if state_folder else []),
            *([f"--keys={keys_file}"] if keys_file else []),
            *(["--without-keys"] if without_keys else []),
            *(["--watch"] if watch else []),
            *(f"--allow-host={name}" for name in host_names),
        ]
        with run_supervised(command) as server:
            return wait(server)


def _stop(_number: int, _frame: object) -> NoReturn:
    for number in _STOPPING:
        # one signal is enough: a second must not cut cleaning up short
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve a .bento file.")
    dist = Workspace().dist
    parser.add_argument(
        "--bento",
        type=Path,
        help=f"default: the one that {Workspace().champion} names, or else the newest in {dist}/",
    )
    parser.add_argument(
        "--no-watch",
        action="store_false",
        dest="watch",
        help="serve this Bento for ever; otherwise the service changes, without a pause, to the "
        "one that this file becomes, or that is the champion or the newest",
    )
    parser.add_argument("--port", type=int, default=3000, help="default: %(default)s")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="default: %(default)s, this machine alone; 0.0.0.0 opens it to the network, which "
        "takes keys",
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
    keys.add_arguments(parser)
    arguments = parser.parse_args()
    ip = address(arguments.host, arguments.port)
    for number in _STOPPING:
        signal.signal(number, _stop)
    try:
        code = serve(
            *(arguments.bento, ip, arguments.port, arguments.allow_host, arguments.state),
            keys_file=arguments.keys,
            without_keys=arguments.without_keys,
            watch=arguments.watch,
        )
    except KeyboardInterrupt:
        return
    if code == _TOLD:
        sys.exit(code)
    raise UserError(f"the server ended by itself with exit code {code}: see its messages above")


if __name__ == "__main__":
    run(main)
