import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest

from kinoflow import bounded as module
from kinoflow.bounded import Bounds, OutOfBoundsError, bounded
from kinoflow.compute import spread
from kinoflow.params import Params

BOUNDS = Bounds(seconds=20, memory_mb=300)


def kill_self(number: int) -> None:
    os.kill(os.getpid(), number)


def kill_first_time(flag: Path) -> str:
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def slow_pid(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def allocate(megabytes: int) -> int:
    return len(np.ones(megabytes * 2**20, np.uint8))


def test_a_call_gives_what_the_function_gives() -> None:
    assert bounded(sorted, [3, 1, 2], BOUNDS) == [1, 2, 3]
    large = np.random.default_rng(0).bytes(5_000_000)
    assert bounded(bytes, large, BOUNDS) == large


def test_what_the_function_prints_does_not_disturb(capfd: pytest.CaptureFixture[str]) -> None:
    assert bounded(print, "hello", BOUNDS) is None
    assert os.getpid() != bounded(lambda _: os.getpid(), None, BOUNDS)


def test_its_exception_comes_through_with_where_it_was() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        bounded(lambda x: 1 / x, 0, BOUNDS)
    assert "1 / x" in raised.value.__notes__[0] or "<lambda>" in raised.value.__notes__[0]


def test_a_call_that_hangs_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(OutOfBoundsError, match=r"longer than 0\.3 s"):
        bounded(time.sleep, 60, Bounds(0.3, 300))
    assert time.monotonic() - started < 10
    assert bounded(len, "abc", BOUNDS) == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system sets no such bound")
def test_a_call_that_eats_memory_is_ended() -> None:
    assert bounded(allocate, 50, BOUNDS) == 50 * 2**20
    with pytest.raises(OutOfBoundsError, match="more than 300 MB"):
        bounded(allocate, 1000, BOUNDS)
    # the bound is of each call, not of all together
    assert bounded(allocate, 200, BOUNDS) == 200 * 2**20
    assert bounded(allocate, 200, BOUNDS) == 200 * 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system sets no such bound")
def test_a_limit_that_the_system_sets_is_no_obstacle() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))\n"
        "from kinoflow.bounded import Bounds, bounded\n"
        "print(bounded(len, 'abc', Bounds(20, 10_000)), bounded(len, 'ab', Bounds(20, 300)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "3 2\n", done.stderr


def test_a_crash_ends_neither_the_caller_nor_the_next_call() -> None:
    with pytest.raises(OutOfBoundsError, match="SIGSEGV"):
        bounded(kill_self, signal.SIGSEGV, BOUNDS)
    assert bounded(len, "abc", BOUNDS) == 3


def test_who_is_killed_by_others_gets_a_second_chance(tmp_path: Path) -> None:
    assert bounded(kill_first_time, tmp_path / "flag", BOUNDS) == "done"


def test_idle_processes_are_used_again_and_end_when_told() -> None:
    module.close()
    first = bounded(lambda _: os.getpid(), None, BOUNDS)
    assert bounded(lambda _: os.getpid(), None, BOUNDS) == first
    module.close()
    assert not psutil.pid_exists(first)


def test_threads_have_processes_of_their_own() -> None:
    seen: list[int] = []

    def call() -> None:
        seen.append(bounded(slow_pid, 0.5, BOUNDS))

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 3


def fragile(number: int) -> str:
    if number == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 4:
        time.sleep(60)
    return f"{number} is fine"


def test_one_bad_task_of_many_costs_only_itself(defaults: Params) -> None:
    compute = defaults.compute.model_copy(update={"timeout_s": 1, "videos_per_task": 2})
    outcomes = spread(
        fragile, range(6), compute, "test", failed=lambda number, why: f"{number}: {why}"
    )
    assert sorted(outcomes) == [
        "0 is fine",
        "1 is fine",
        "2: it crashes the process that reads it (SIGSEGV)",
        "3 is fine",
        "4: it took longer than 1 s",
        "5 is fine",
    ]
