"""Spread decoding over processes: on this machine, or on a Dask cluster that is already running."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kinoflow.system.errors import UserError
from kinoflow.system.sandbox import Bounds, OutOfBoundsError, bounded, close, fitting
from kinoflow.system.terminal import progress

Task = TypeVar("Task")
Result = TypeVar("Result")

_ANSWERS_WITHIN = "10s"  # a scheduler that is there


@dataclass(frozen=True)
class Pool:
    """Who does the tasks, and what each may take."""

    bounds: Bounds  # `at_once` counts for each Dask worker
    tasks_per_step: int = 8  # tasks that a Dask worker does before it reports back
    scheduler: str | None = None  # address of a running one, tcp://host:8786; None: this machine


def spread(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    pool: Pool,
    what: str,
    *,
    failed: Callable[[Task, str], Result] | None = None,
) -> Iterator[Result]:
    """Yield `function(task)` for every task, in the order in which they finish.

    Each runs in a process of its own within `pool.bounds`; no more at once, in each Dask worker,
    than those say, or than that machine has cores and memory for. One that exceeds its bounds,
    or kills its process, gives `failed(task, reason)`, or OutOfBoundsError where there is no
    `failed`. Anything else that `function` raises is a mistake of ours, which must not pass for
    a broken video: it ends the run. Progress is shown under the name `what`.

    Raises UserError if the scheduler does not answer, and what `function` raises.
    """
    if not tasks:
        return
    bounds = pool.bounds
    import dask
    from distributed import Client, LocalCluster, as_completed

    dask.config.set({"distributed.admin.system-monitor.disk": False})
    if pool.scheduler:
        try:
            client = Client(pool.scheduler, timeout=_ANSWERS_WITHIN)
        except OSError:
            raise UserError(
                f"no Dask scheduler answers at {pool.scheduler}: start one there, or set no address"
            ) from None
        cluster = None
    else:
        # threads suffice, since every task has a process of its own
        cluster = LocalCluster(
            n_workers=1,
            threads_per_worker=min(bounds.at_once or fitting(bounds.memory_mb), len(tasks)),
            processes=False,
            # its own pages listen, if they must, on this machine alone
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            silence_logs=40,
        )
        client = Client(cluster)
    steps = [
        tasks[start : start + pool.tasks_per_step]
        for start in range(0, len(tasks), pool.tasks_per_step)
    ]

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
            close()


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
            results.append(bounded(function, task, bounds))
        except OutOfBoundsError as problem:
            if failed is None:
                raise
            results.append(failed(task, str(problem)))
    return results
