"""Prefect flows and other commands that run the pipeline, each stage as a process of its own."""

import os

from kinoflow.system import terminal

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def reach_this_machine_directly() -> None:
    """Make this process, and those it starts, reach servers on this machine without a proxy.

    Hosts that NO_PROXY and no_proxy name already are kept. Both are set, since some programs read
    only one of them.
    """
    hosts = []
    for name in ("no_proxy", "NO_PROXY"):
        hosts += [host.strip() for host in os.environ.get(name, "").split(",")]
    union = ",".join(dict.fromkeys(filter(None, [*hosts, *_THIS_MACHINE])))
    os.environ |= {"no_proxy": union, "NO_PROXY": union}


# Importing Prefect sends telemetry and reads its settings, so this cannot wait for a `main`.
terminal.quiet()
reach_this_machine_directly()
# Without this, a flow that is called without a server would start one that has no login, where any
# page in a browser could start flows.
os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")
