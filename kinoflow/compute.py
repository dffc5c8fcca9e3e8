"""Spread decoding over processes: a local Dask cluster, or one that is already running."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from kinoflow.console import UserError, progress
from kinoflow.params import Compute

Task = TypeVar("Task")
Result = TypeVar("Result")


def spread(
    function: Callable[[Task], Result], tasks: Sequence[Task], compute: Compute, what: str
) -> Iterator[Result]:
    """Yield `function(task)` for every task, in the order in which they finish.

    Progress is shown under the name `what`. Raises UserError if the scheduler at
    `compute.dask_address` does not answer, and what `function` raises.
    """
    if not tasks:
        return
    import dask
    from distributed import Client, LocalCluster, as_completed

    dask.config.set({"distributed.admin.system-monitor.disk": False})
    if compute.dask_address:
        try:
            client = Client(compute.dask_address, timeout="10s")
        except OSError:
            raise UserError(
                f"compute.dask_address: no Dask scheduler answers at {compute.dask_address}"
            ) from None
        cluster = None
    else:
        workers = min(compute.workers or os.cpu_count() or 1, len(tasks))
        cluster = LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=40
        )
        client = Client(cluster)
    try:
        futures = client.map(function, tasks, pure=False)
        for future in progress(as_completed(futures), what, total=len(tasks)):
            yield future.result()
            future.release()
    finally:
        client.close()
        if cluster is not None:
            cluster.close()
