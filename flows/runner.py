"""Serve the deployments on the server of Prefect's settings: `flows.deployments` runs this."""

import sys

from prefect import get_client, serve

from flows import server
from flows.deployments import DEPLOYMENT, deployments, place
from flows.recovery import recover
from kinoflow import config
from kinoflow.workspace import Workspace, run


def main(workspace: Workspace) -> None:
    served = deployments(config.load(workspace.params), workspace)
    with get_client(sync_client=True) as client:
        server.wait_for(client)
        for line in recover(client, DEPLOYMENT, place(workspace)):
            print(line, file=sys.stderr, flush=True)
    serve(*served, limit=len(served), pause_on_shutdown=False)


if __name__ == "__main__":
    run(main)
