"""Run candidates on a Dask cluster, each worker one at a time: `compute.dask_address`.

Workers have the folder of the pipeline at the same path. Each runs `dvc repro` there, so that
caches, locks and results are those of a run on one machine. A worker's candidate uses the cores
and GPUs that the worker may use.

Candidates of a worker that is gone are run again on another one. A worker ends what it runs when
the run that asked for it has ended, however it ended: it looks whether that run still holds its
lock, a file in the shared folder.
"""

import contextlib
import os
import queue
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from flows import candidate, dvc
from kinoflow.system import locks
from kinoflow.system.supervisor import GRACE, unwatched, wait
from kinoflow.workspace import Workspace

_CLUSTER = "the Dask cluster"
_CONNECT_TIMEOUT = "10s"
_POLL = 0.5  # seconds between two looks at which workers there are, and at who still runs
_PATIENCE = 60.0  # seconds without any worker
_ATTEMPTS = 3  # a candidate that loses as many workers may be what ends them
_TOPIC = "kinoflow"  # of events, which is how Dask passes on what workers tell

# What the process that watches a Dask worker sets beside the setting "pre-spawn-environ", so that
# NumPy in the worker itself uses one core: a training may use those that the worker may use.
_HASH_SEED = "PYTHONHASHSEED"

_Kind = Literal["line", "unfit", "end", "error"]


@dataclass(frozen=True)
class Order:
    """What a worker is to do."""

    number: str  # tells it from other orders, of other runs as well
    root: str  # the absolute path of the work tree
    name: str  # of the candidate
    stages: tuple[str, ...]
    owner: str  # the lock that is held for as long as anyone waits for the results


# === On the worker ===

_one_at_a_time = threading.Lock()


def carry_out(order: Order) -> None:
    """Run stages of a candidate on this Dask worker.

    It tells each line that they print, and at last the exit code, as events of Dask.
    """
    from distributed import get_worker

    worker = get_worker()

    def tell(kind: _Kind, text: str) -> None:
        worker.log_event(_TOPIC, [order.number, kind, text])

    workspace, owner = Workspace(Path(order.root)), Path(order.owner)
    if not workspace.params.exists():
        tell("unfit", f"there is no {workspace.params} on its machine")
    elif not locks.is_held(owner):
        tell("unfit", f"its machine does not see locks that others hold in {order.root}")
    elif code := _run(order, workspace, owner, tell):
        tell("end", str(code))
    else:
        tell("end", "0")


def _run(order: Order, workspace: Workspace, owner: Path, tell: Any) -> int:
    """Run the stages and return their exit code; end them once nobody holds the lock `owner`."""
    # another run, of another folder, may use the same workers
    while not _one_at_a_time.acquire(timeout=_POLL):
        if not locks.is_held(owner):
            return -1
    try:
        printed: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with dvc.started(_command(order, workspace), workspace, piped=True) as process:
            dvc.forward(process, printed.put)
            looked = time.monotonic()
            while True:
                with contextlib.suppress(queue.Empty):
                    line = printed.get(timeout=_POLL)
                    if line is None:
                        return wait(process)
                    tell("line", line)
                if time.monotonic() - looked > _POLL:
                    if not locks.is_held(owner):
                        return -1
                    looked = time.monotonic()
    finally:
        _one_at_a_time.release()


def _command(order: Order, workspace: Workspace) -> list[str]:
    import dask

    theirs: dict[str, Any] = dask.config.get("distributed.nanny.pre-spawn-environ", {})
    unset = [_HASH_SEED]
    unset += [name for name, value in theirs.items() if os.environ.get(name) == str(value)]
    lock = candidate.lock(workspace, order.name)
    return [
        *("env", *(f"--unset={name}" for name in unset), sys.executable),
        *("-m", "kinoflow.system.locks", str(lock), f"training {order.name} on a worker"),
        *(sys.executable, "-m", "flows.candidate", order.name, *order.stages),
    ]


# === On the machine of the run ===


@dataclass
class _Attempt:
    """A candidate that runs on a worker."""

    order: Order
    worker: str  # its address
    future: Any
    lines: list[str] = field(default_factory=list)


def run_candidates(
    names: Sequence[str],
    stages: Sequence[str],
    say: dvc.Say,
    workspace: Workspace,
    address: str,
    watch: dvc.Watch = unwatched,
) -> None:
    """Run stages of several candidates on the workers of a Dask cluster.

    Args:
        names: the candidates, in the order in which they are begun.
        stages: the stages of each.
        say: called with each line of output as soon as it is printed, after the candidate's name.
        workspace: the work tree.
        address: that of the Dask scheduler.
        watch: called about twice a second; what it raises ends the run.

    Raises StageFailed with what the failing stage said, once all others have been ended, or with
    what is wrong with the cluster.
    """
    owner = workspace.lock(f"cluster-{secrets.token_hex(8)}").absolute()
    with _connected(address) as client:
        run = _Run(client, names, tuple(stages), say, workspace, owner)
        try:
            with locks.held(owner, "running candidates on a cluster"):
                run.to_its_end(watch)
        finally:
            # the lock is free: workers end what they still run
            run.wait_for_workers()


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """A client of the scheduler. Raises StageFailed if there is none, or it has gone."""
    from distributed import Client

    try:
        client = Client(address, timeout=_CONNECT_TIMEOUT)
    except (OSError, ValueError) as error:
        raise dvc.StageFailed(
            _CLUSTER,
            f"no scheduler answers at {address} ({error}): start one there, or set no "
            "compute.dask_address",
            may_pass=True,
        ) from None
    try:
        yield client
    except OSError as error:  # that of a connection, in Dask
        why = f"the scheduler at {address} has gone: {error}"
        raise dvc.StageFailed(_CLUSTER, why, may_pass=True) from None
    finally:
        client.close()


class _Run:
    """Which candidate runs where, and which ones wait."""

    def __init__(
        self,
        client: Any,
        names: Sequence[str],
        stages: tuple[str, ...],
        say: dvc.Say,
        workspace: Workspace,
        owner: Path,
    ) -> None:
        self._client = client
        self._stages = stages
        self._workspace = workspace
        self._owner = owner
        self._waiting = deque(names)
        self._running: dict[str, _Attempt] = {}  # by worker
        self._unfit: dict[str, str] = {}  # why, by worker
        self._begun = dict.fromkeys(names, 0)  # attempts
        self._told: queue.SimpleQueue[tuple[str, _Kind, str]] = queue.SimpleQueue()
        width = max(map(len, names))
        self._say = lambda name, line: say(f"{name:<{width}} | {line}")
        client.subscribe_topic(_TOPIC, lambda event: self._told.put(tuple(event[1])))

    def to_its_end(self, watch: dvc.Watch) -> None:
        """Run all candidates. Raises StageFailed for the first that fails."""
        seen = time.monotonic()
        while self._waiting or self._running:
            watch()
            workers = self._workers()
            self._take_back(workers)
            free = [each for each in workers if each not in self._running.keys() | self._unfit]
            if free or self._running:
                seen = time.monotonic()
            elif time.monotonic() - seen > (_POLL if workers else _PATIENCE):
                raise dvc.StageFailed(_CLUSTER, self._why_none(workers))
            for worker in free:
                if self._waiting:
                    self._begin(worker, self._waiting.popleft())
            self._listen()

    def wait_for_workers(self) -> None:
        """Wait until workers have ended what they run, for the time in which they should."""
        deadline = time.monotonic() + GRACE + 2 * _POLL
        while self._running and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                number, kind, _ = self._told.get(timeout=_POLL)
                if kind != "line":
                    self._forget(number)
            with contextlib.suppress(OSError):
                gone = self._running.keys() - self._workers()
                self._running = {
                    worker: each for worker, each in self._running.items() if worker not in gone
                }

    def _workers(self) -> list[str]:
        """The addresses of all workers. Raises OSError if the scheduler has gone."""
        # not `scheduler_info`, which returns what the client asked last: that may be its own
        # regular question for totals, whose answer names no workers
        scheduler = self._client.sync(self._client.scheduler.identity, n_workers=-1)
        return [*scheduler["workers"]]

    def _take_back(self, workers: Sequence[str]) -> None:
        """Have candidates of workers that are gone wait again."""
        for worker in self._running.keys() - set(workers):
            attempt = self._running.pop(worker)
            name = attempt.order.name
            attempt.future.cancel()
            if self._begun[name] == _ATTEMPTS:
                raise dvc.StageFailed(name, f"{_ATTEMPTS} workers ended while they ran it")
            self._say(name, f"the worker {worker} is gone: {name} is run again on another one")
            self._waiting.appendleft(name)

    def _begin(self, worker: str, name: str) -> None:
        self._begun[name] += 1
        order = Order(
            number=secrets.token_hex(8),
            root=str(self._workspace.root.absolute()),
            name=name,
            stages=self._stages,
            owner=str(self._owner),
        )
        self._say(name, f"begins on the worker {worker}")
        future = self._client.submit(
            carry_out, order, workers=[worker], allow_other_workers=False, pure=False
        )
        self._running[worker] = _Attempt(order, worker, future)
        future.add_done_callback(lambda done: self._hear_of_error(order.number, done))

    def _hear_of_error(self, number: str, done: Any) -> None:
        if done.status == "error":
            self._told.put((number, "error", repr(done.exception())))

    def _listen(self) -> None:
        """Deal with what workers tell for a while."""
        until = time.monotonic() + _POLL
        while self._running and (left := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                self._deal_with(*self._told.get(timeout=left))
        if not self._running:
            time.sleep(_POLL)

    def _deal_with(self, number: str, kind: _Kind, text: str) -> None:
        attempt = next(
            (each for each in self._running.values() if each.order.number == number), None
        )
        if attempt is None:  # of a worker that was given up, or of another run
            return
        name = attempt.order.name
        if kind == "line":
            attempt.lines.append(text)
            self._say(name, text)
            return
        self._forget(number)
        if kind == "unfit":
            self._unfit[attempt.worker] = text
            self._say(name, f"the worker {attempt.worker} is left out: {text}")
            self._begun[name] -= 1
            self._waiting.appendleft(name)
        elif kind == "error":
            raise dvc.StageFailed(name, f"the worker {attempt.worker} failed: {text}")
        elif text != "0":
            raise dvc.failure(name, attempt.lines, int(text))
        else:
            self._say(name, dvc.DONE)

    def _forget(self, number: str) -> None:
        self._running = {
            worker: each for worker, each in self._running.items() if each.order.number != number
        }

    def _why_none(self, workers: Sequence[str]) -> str:
        if workers:
            return f"the worker {workers[0]}: {self._unfit[workers[0]]}"
        return (
            "there are no workers: start them in this folder with "
            f"`dask worker {self._client.scheduler.address}`"
        )
