"""The Prefect flows around the pipeline. They reach its stages through processes alone."""

import os

from kinoflow import console

# Prefect would report its own import, and it reads its settings once: neither can wait for a `main`
console.quiet()
# a flow that is called without a server would start one by itself, and that obeys any web page
os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")
