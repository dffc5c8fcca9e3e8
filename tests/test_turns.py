"""How many sandboxed calls run at the same time, and until when."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from kinoflow.system import sandbox
from kinoflow.system.sandbox import (
    Bounds,
    LateError,
    OutOfBoundsError,
    default_concurrency,
    run_sandboxed,
)
from kinoflow.system.sandbox_process import end_idle_processes
from tests.calls import busy
from tests.children import decoders, nothing_runs

TWO = Bounds(seconds=20, memory_mb=300, concurrency=2)


def most_at_once(spans: list[tuple[float, float]]) -> int:
    changes = sorted([(begun, 1) for begun, _ in spans] + [(ended, -1) for _, ended in spans])
    running = [sum(change for _, change in changes[: index + 1]) for index in range(len(changes))]
    return max(running)


def test_no_more_than_that_run_at_once() -> None:
    with ThreadPoolExecutor(12) as pool:
        spans = list(pool.map(partial(run_sandboxed, busy, bounds=TWO), [0.1] * 12))
    assert most_at_once(spans) == 2
    assert len(decoders()) <= 2


def test_who_comes_first_goes_first() -> None:
    order: list[int] = []
    queue = sandbox._semaphore
    one = Bounds(20, 300, concurrency=1)

    def call(number: int) -> None:
        run_sandboxed(busy, 0 if number else 0.5, one)
        order.append(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for number, thread in enumerate(threads):
        thread.start()
        # until it waits, or, the first, runs
        while not order and (queue._holders, len(queue._queue)) != (1, number):
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == sorted(order)


def test_waiting_and_computing_end_with_the_deadline() -> None:
    run_sandboxed(busy, 0, TWO)
    outcomes: list[LateError] = []
    begun = time.monotonic()

    def call() -> None:
        with pytest.raises(LateError) as late:
            run_sandboxed(busy, 60, TWO, deadline=begun + 1)
        outcomes.append(late.value)

    threads = [threading.Thread(target=call) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun < 5
    assert nothing_runs()
    # two had their turn; for the others it was others who took too long
    assert sorted(late.begun for late in outcomes) == [False] * 10 + [True] * 2
    for late in outcomes:
        if not late.begun:
            assert 0.9 < late.waited < 5
            assert "s for its turn, until its time was up" in str(late)
    assert run_sandboxed(len, "abc", TWO) == 3


def test_a_deadline_that_has_passed_starts_nothing() -> None:
    end_idle_processes()
    with pytest.raises(LateError) as late:
        run_sandboxed(busy, 0, TWO, deadline=time.monotonic() - 1)
    assert not late.value.begun
    assert not decoders()


def test_a_call_of_its_own_slowness_says_so() -> None:
    with pytest.raises(OutOfBoundsError, match=r"longer than 0\.2 s") as raised:
        run_sandboxed(busy, 60, Bounds(0.2, 300), deadline=time.monotonic() + 60)
    assert not isinstance(raised.value, LateError)


def test_a_process_that_was_stopped_is_ended_from_outside() -> None:
    started = time.monotonic()
    with pytest.raises(OutOfBoundsError, match=r"longer than 0\.2 s"):
        run_sandboxed(lambda _: os.kill(os.getpid(), signal.SIGSTOP), None, Bounds(0.2, 300))
    assert time.monotonic() - started < 20


def test_as_many_fit_as_there_are_cores_and_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert default_concurrency(1) == cores
    assert default_concurrency(10**9) == 1
    monkeypatch.setattr(sandbox, "_memory", lambda: 4 * 2**30)
    assert default_concurrency(3072) == 1
    assert default_concurrency(1536) == min(2, cores or 1)
