"""Spread decoding over processes: on this machine, or on a Dask cluster that is already running."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from kinoflow import bounded
from kinoflow.bounded import Bounds, OutOfBoundsError
from kinoflow.console import UserError, progress
from kinoflow.params import Compute

Task = TypeVar("Task")
Result = TypeVar("Result")

_ANSWERS_WITHIN = "10s"  # a scheduler that is there


def spread(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    compute: Compute,
    what: str,
    *,
    failed: Callable[[Task, str], Result] | None = None,
) -> Iterator[Result]:
    """Yield `function(task)` for every task, in the order in which they finish.

    Each runs in a process of its own within the bounds of `compute`; no more at once, in each
    Dask worker, than `compute.workers`, or than that machine has cores and memory for. One that
    exceeds its bounds, or kills its process, gives `failed(task, reason)`, or OutOfBoundsError
    where there is no `failed`. Anything else that `function` raises is a mistake of ours, which
    must not pass for a broken video: it ends the run. Progress is shown under the name `what`.

    Raises UserError if the scheduler at `compute.dask_address` does not answer, and what
    `function` raises.
    """
    if not tasks:
        return
    import dask
    from distributed import Client, LocalCluster, as_completed

    dask.config.set({"distributed.admin.system-monitor.disk": False})
    if compute.dask_address:
        try:
            client = Client(compute.dask_address, timeout=_ANSWERS_WITHIN)
        except OSError:
            raise UserError(
                f"compute.dask_address: no Dask scheduler answers at {compute.dask_address}"
            ) from None
        cluster = None
    else:
        # threads suffice, since every task has a process of its own
        cluster = LocalCluster(
            n_workers=1,
            threads_per_worker=min(
                compute.workers or bounded.fitting(compute.memory_mb), len(tasks)
            ),
            processes=False,
            # its own pages listen, if they must, on this machine alone
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            silence_logs=40,
        )
        client = Client(cluster)
    steps = [
        tasks[start : start + compute.videos_per_task]
        for start in range(0, len(tasks), compute.videos_per_task)
    ]
    bounds = Bounds(compute.timeout_s, compute.memory_mb, compute.workers)

    def results() -> Iterator[Result]:
        for future in as_completed(
            client.map(_run, steps, function=function, bounds=bounds, failed=failed, pure=False)
        ):
            yield from future.result()
            future.release()

    try:
        yield from progress(results(), what, total=len(tasks))
    finally:
        client.close()
        if cluster is not None:
            cluster.close()
            bounded.close()


def _run(
    tasks: Sequence[Task],
    function: Callable[[Task], Result],
    bounds: Bounds,
    failed: Callable[[Task, str], Result] | None,
) -> list[Result]:
    """One step of a Dask worker."""
    results = []
    for task in tasks:
        try:
            results.append(bounded.bounded(function, task, bounds))
        except OutOfBoundsError as problem:
            if failed is None:
                raise
            results.append(failed(task, str(problem)))
    return results
