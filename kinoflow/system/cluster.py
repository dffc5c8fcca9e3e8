"""Spread tasks over the cores of this machine, or over a Dask cluster that is already running."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from kinoflow.system.errors import UserError
from kinoflow.system.sandbox import Bounds, OutOfBoundsError, run_sandboxed
from kinoflow.system.sandbox_process import end_idle_processes
from kinoflow.system.terminal import progress

Task = TypeVar("Task")
Result = TypeVar("Result")

_CONNECT_TIMEOUT = "10s"


@dataclass(frozen=True)
class Pool:
    """Where tasks run, and how much time and memory each may take."""

    bounds: Bounds  # of each call; the concurrency is a limit for each Dask worker
    tasks_per_step: int = 8  # tasks that a Dask worker does before it reports back
    scheduler: str | None = None  # address of a running Dask scheduler; None: this machine


def spread(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    pool: Pool,
    what: str,
    *,
    failed: Callable[[Task, str], Result] | None = None,
) -> Iterator[Result]:
    """Yield `function(task)` for every task, in the order in which they finish.

    Each call runs in a sandbox process within `pool.bounds`. An exception of `function` itself is
    a bug, not a bad task, and ends the run.

    Args:
        function: called with each task. It is pickled, and so are tasks and results.
        tasks: the arguments of the calls.
        pool: where to run, and how much each call may take.
        what: the name under which progress is shown.
        failed: called with a task that exceeds its bounds or kills its process, and with the
            reason. It returns the result of that task. None: such a task ends the run.

    Raises UserError if the scheduler does not answer, OutOfBoundsError for a task that exceeds
    its bounds if `failed` is None, and whatever `function` raises.
    """
    if not tasks:
        return
    bounds = pool.bounds
    import dask
    from distributed import Client, LocalCluster, as_completed

    dask.config.set({"distributed.admin.system-monitor.disk": False})
    if pool.scheduler:
        try:
            client = Client(pool.scheduler, timeout=_CONNECT_TIMEOUT)
        except OSError:
            raise UserError(
                f"no Dask scheduler answers at {pool.scheduler}: start one there, or set no address"
            ) from None
        cluster = None
    else:
        # threads suffice, since every task runs in a sandbox process
        cluster = LocalCluster(
            n_workers=1,
            threads_per_worker=min(bounds.max_calls, len(tasks)),
            processes=False,
            # Dask's web pages cannot be switched off: no other machine may reach them
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            silence_logs=40,
        )
        client = Client(cluster)
    steps = [
        tasks[start : start + pool.tasks_per_step]
        for start in range(0, len(tasks), pool.tasks_per_step)
    ]

    run_step = partial(_run_step, function=function, bounds=bounds, failed=failed)

    def results() -> Iterator[Result]:
        for future in as_completed(client.map(run_step, steps, pure=False)):
            yield from future.result()
            future.release()

    try:
        yield from progress(results(), what, total=len(tasks))
    finally:
        client.close()
        if cluster is not None:
            cluster.close()
            end_idle_processes()


def _run_step(
    tasks: Sequence[Task],
    function: Callable[[Task], Result],
    bounds: Bounds,
    failed: Callable[[Task, str], Result] | None,
) -> list[Result]:
    """The results of one step's tasks; this runs on a Dask worker."""
    results = []
    for task in tasks:
        try:
            results.append(run_sandboxed(function, task, bounds))
        except OutOfBoundsError as problem:
            if failed is None:
                raise
            results.append(failed(task, str(problem)))
    return results
