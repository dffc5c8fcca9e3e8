"""The Prefect flows around the pipeline. They reach its stages through processes alone."""

import os

from kinoflow.system import terminal

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def reach_this_machine_directly() -> None:
    """Let no proxy stand between this process, or those it starts, and a server on this machine.

    What NO_PROXY says already is kept, in whichever spelling; programs differ in which they read.
    """
    hosts = []
    for name in ("no_proxy", "NO_PROXY"):
        hosts += [host.strip() for host in os.environ.get(name, "").split(",")]
    union = ",".join(dict.fromkeys(filter(None, [*hosts, *_THIS_MACHINE])))
    os.environ |= {"no_proxy": union, "NO_PROXY": union}


# Prefect would report its own import, and it reads its settings once: neither can wait for a `main`
terminal.quiet()
reach_this_machine_directly()
# a flow that is called without a server would start one by itself, and that obeys any web page
os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")
