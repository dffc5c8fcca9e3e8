"""Serve Bentos: `python -m serving.server`. In a Bento's folder `src`, it serves that Bento.

This process listens on the one port, starts a worker that answers requests, and starts another if
that one dies, or if there is a newer Bento. It replaces the supervisors of BentoML and of uvicorn.
The one of `bentoml serve` listens on a second port, over which every user of the machine can start
programs. The one of uvicorn sometimes takes a killed worker for alive until its health check times
out.
"""

import argparse
import contextlib
import os
import resource
import socket
import sys
from pathlib import Path

from kinoflow.bentos import Source
from kinoflow.system import locks
from kinoflow.system.errors import run
from serving import keys, state
from serving.releases import Release, setting, unpack
from serving.supervising import Supervisor

PREFIX = "kinoflow-serve-"  # of the temporary folders of servers


def serve(
    host: str,
    port: int,
    folder: Path,
    source: Source | None = None,
    state_folder: Path | None = None,
    keys_file: Path | None = None,
    *,
    without_keys: bool = False,
    watch: bool = False,
) -> int:
    """Serve at an IP address and port until SIGTERM or Ctrl-C; return an exit code.

    Args:
        host: the IP address.
        port: the port.
        folder: an empty folder for temporary files.
        source: where the Bento is; None: this file lies in it.
        state_folder: of the service's state; None: as the environment or the Bento's settings say.
        keys_file: the file of keys; None: as the environment or the Bento's settings say.
        without_keys: whether to demand no keys.
        watch: whether to change to another Bento when `source` gives one.

    Raises OSError if nothing can listen there, and UserError for a file that is no whole Bento, for
    a state that another service has, and as `keys.choose` does.
    """
    # each connection is an open file, so this bounds their number
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if source is None:
        release = Release(Path(__file__).resolve().parent.parent.parent)
    else:
        release = unpack(source.find(), folder / "bento-1")
        # a worker must import its Bento's code, not what the user's PYTHONPATH names
        os.environ.pop("PYTHONPATH", None)
        os.environ["BENTOML_HOME"] = str(folder / "home")
    os.environ[keys.VARIABLE] = keys.choose(
        host,
        keys_file,
        setting(release, "api_keys_file", optional=True),
        without=without_keys,
    )
    state_folder = state_folder or state.folder(setting(release, "state"))
    lock = state.take(state_folder)
    os.set_inheritable(lock, True)
    os.environ |= {state.VARIABLE: str(state_folder.absolute()), state.LOCK: str(lock)}
    # prometheus_client adds up the counts of all workers from the files in here
    (folder / "metrics").mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder / "metrics")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=1024) as listening:
        if source:
            print(f"serving {release.name} at http://{host}:{port} until Ctrl-C", flush=True)
        handed_down = (listening.fileno(), lock)
        supervisor = Supervisor(release, folder, handed_down, source if watch else None)
        return supervisor.run()


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
    keys.add_arguments(parser)
    of_files = parser.add_argument_group("used by `python -m serving`, to serve .bento files")
    of_files.add_argument("--champion", type=Path, help="names the file, in the same folder")
    of_files.add_argument("--bento", type=Path, help="the file")
    of_files.add_argument("--watch", action="store_true", help="change to a newer one")
    of_files.add_argument("--state", type=Path, help="folder of the state")
    of_files.add_argument("--folder", type=Path, help="an empty folder for temporary files")
    arguments = parser.parse_args()
    if arguments.allow_host:
        os.environ["KINOFLOW_HOSTS"] = ",".join(arguments.allow_host)
    source = Source(arguments.bento, arguments.champion) if arguments.champion else None
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or stack.enter_context(locks.temporary_folder(PREFIX, "serving"))
        code = serve(
            *(arguments.host, arguments.port, folder, source, arguments.state, arguments.keys),
            without_keys=arguments.without_keys,
            watch=arguments.watch,
        )
    sys.exit(code)


if __name__ == "__main__":
    run(main)
