"""Serve an exported Bento: `python -m serving [--bento FILE] [--port N] [--host ADDRESS]`."""

import argparse
import lzma
import os
import signal
import socket
import sys
import tarfile
from pathlib import Path
from typing import NoReturn

from kinoflow.system import locks
from kinoflow.system.errors import UserError, run
from kinoflow.system.supervisor import run_supervised
from kinoflow.workspace import Workspace

PREFIX = "kinoflow-serve-"  # of the temporary folders of servers
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def newest(folder: Path) -> Path:
    """The .bento file made last. Raises UserError if there is none."""
    bentos = sorted(folder.glob("[!.]*.bento"), key=lambda path: path.stat().st_mtime)
    if not bentos:
        raise UserError(f"{folder}/ holds no Bento: make one with `make repro`")
    return bentos[-1]


def unpack(bento: Path, folder: Path) -> None:
    """Extract a .bento file. Raises UserError for a file that is missing, damaged or no Bento."""
    if not bento.is_file():
        raise UserError(f"there is no file {bento}")
    try:
        with tarfile.open(bento) as archive:
            # "data": nothing lands outside the folder, no links out of it, no devices
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, lzma.LZMAError, EOFError):
        raise UserError(f"{bento} is no Bento, or a damaged one") from None
    if not (folder / "bento.yaml").is_file():
        raise UserError(f"{bento} is no Bento")


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


def serve(bento: Path, ip: str, port: int, names: list[str]) -> int:
    """Serve a .bento file until the server ends by itself; return its exit code.

    It answers to the host `names` as well as to IP addresses and localhost. All that it writes,
    BentoML's own files included, lies in a temporary folder.
    """
    with locks.temporary_folder(PREFIX, "serving") as folder:
        unpack(bento, folder / "bento")
        (folder / "tmp").mkdir()
        print(f"serving {bento} at http://{ip}:{port} until Ctrl-C", flush=True)
        command = [sys.executable, "-m", "serving.server", "--host", ip, "--port", str(port)]
        environment = {
            **os.environ,
            "BENTOML_HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
        }
        # the Bento's code, not that of whoever starts it
        environment.pop("PYTHONPATH", None)
        with run_supervised(
            [*command, *(f"--allow-host={name}" for name in names)],
            cwd=folder / "bento" / "src",
            env=environment,
        ) as server:
            return server.wait()


def _end(_number: int, _frame: object) -> NoReturn:
    for number in _ENDING:
        # one is enough: what follows is cleaning up
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m serving", description="Serve an exported Bento."
    )
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
        help="answer requests to this host name too, and not to IP addresses and localhost alone; "
        "may be given several times",
    )
    arguments = parser.parse_args()
    bento = arguments.bento or newest(Workspace().dist)
    ip = address(arguments.host, arguments.port)
    for number in _ENDING:
        signal.signal(number, _end)
    try:
        code = serve(bento, ip, arguments.port, arguments.allow_host)
    except KeyboardInterrupt:
        return
    raise UserError(f"the server ended by itself with exit code {code}: its reason stands above")


if __name__ == "__main__":
    run(main)
