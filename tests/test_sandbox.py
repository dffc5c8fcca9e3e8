"""A sandboxed call may hang, crash, leak or print, and harms neither its caller nor the next."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest

from kinoflow.config import Params
from kinoflow.system.cluster import spread
from kinoflow.system.sandbox import Bounds, OutOfBoundsError, run_sandboxed
from kinoflow.system.sandbox_process import end_idle_processes
from kinoflow.video import ClipSpec, sample
from tests.calls import allocate, fragile, kept, kill_first_time, kill_self, raise_odd, slow_pid
from tests.children import decoders
from tests.media import moving_square, write_video

BOUNDS = Bounds(seconds=20, memory_mb=300)


def test_a_call_gives_what_the_function_gives() -> None:
    assert run_sandboxed(sorted, [3, 1, 2], BOUNDS) == [1, 2, 3]
    large = np.random.default_rng(0).bytes(5_000_000)
    assert run_sandboxed(bytes, large, BOUNDS) == large


def test_what_the_function_prints_does_not_disturb(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_sandboxed(print, "hello", BOUNDS) is None
    assert os.getpid() != run_sandboxed(lambda _: os.getpid(), None, BOUNDS)


def test_its_exception_comes_through_with_where_it_was() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        run_sandboxed(lambda x: 1 / x, 0, BOUNDS)
    assert "1 / x" in raised.value.__notes__[0] or "<lambda>" in raised.value.__notes__[0]


def test_a_call_that_hangs_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(OutOfBoundsError, match=r"longer than 0\.3 s"):
        run_sandboxed(time.sleep, 60, Bounds(0.3, 300))
    assert time.monotonic() - started < 10
    assert run_sandboxed(len, "abc", BOUNDS) == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system sets no such bound")
def test_a_call_that_eats_memory_is_ended() -> None:
    assert run_sandboxed(allocate, 50, BOUNDS) == 50 * 2**20
    with pytest.raises(OutOfBoundsError, match="more than 300 MB"):
        run_sandboxed(allocate, 1000, BOUNDS)
    # the bound is of each call, not of all together
    assert run_sandboxed(allocate, 200, BOUNDS) == 200 * 2**20
    assert run_sandboxed(allocate, 200, BOUNDS) == 200 * 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system sets no such bound")
def test_a_limit_that_the_system_sets_is_no_obstacle() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))\n"
        "from kinoflow.system.sandbox import Bounds, run_sandboxed\n"
        "for memory_mb in (10_000, 300):\n"
        "    print(run_sandboxed(len, 'abc', Bounds(20, memory_mb)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "3\n3\n", done.stderr


def test_a_crash_ends_neither_the_caller_nor_the_next_call() -> None:
    with pytest.raises(OutOfBoundsError, match="SIGSEGV"):
        run_sandboxed(kill_self, signal.SIGSEGV, BOUNDS)
    assert run_sandboxed(len, "abc", BOUNDS) == 3


def test_who_is_killed_by_others_gets_a_second_chance(tmp_path: Path) -> None:
    assert run_sandboxed(kill_first_time, tmp_path / "flag", BOUNDS) == "done"


def test_idle_processes_are_used_again_and_end_when_told() -> None:
    end_idle_processes()
    first = run_sandboxed(lambda _: os.getpid(), None, BOUNDS)
    assert run_sandboxed(lambda _: os.getpid(), None, BOUNDS) == first
    end_idle_processes()
    assert not psutil.pid_exists(first)


def pid_after(function: Callable[[Any], object], argument: Any) -> int:
    """The process that would be used next, after a call of `function`."""
    with contextlib.suppress(OutOfBoundsError):
        run_sandboxed(function, argument, BOUNDS)
    return run_sandboxed(lambda _: os.getpid(), None, BOUNDS)


def test_a_process_that_has_grown_is_not_used_again(tmp_path: Path) -> None:
    end_idle_processes()
    first = pid_after(kept, 1)
    # what a call frees, and what it needs to import, is no growth
    assert pid_after(allocate, 200) == first
    video = write_video(tmp_path / "a.avi", moving_square(20, height=480, width=640))
    assert pid_after(partial(sample, spec=ClipSpec(8, 64, 64)), video) == first
    assert pid_after(kept, 100) != first
    assert not psutil.pid_exists(first)
    # nor one that has hit its bound, whatever is left in it
    second = run_sandboxed(lambda _: os.getpid(), None, BOUNDS)
    assert pid_after(allocate, 1000) != second
    # so that what calls leave behind never adds up
    for _ in range(5):
        run_sandboxed(kept, 30, BOUNDS)
    assert sum(child.memory_info().rss for child in decoders()) < 250 * 2**20


def test_its_own_libraries_start_no_threads(tmp_path: Path) -> None:
    def threads(path: Path) -> int:
        sample(path, ClipSpec(8, 64, 64))
        np.ones((200, 200)) @ np.ones((200, 200))
        return psutil.Process().num_threads()

    video = write_video(tmp_path / "a.avi", moving_square(20, height=480, width=640))
    assert run_sandboxed(threads, video, BOUNDS) == 1


def test_modules_that_merely_lie_in_the_working_folder_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "traceback.py").write_text("raise SystemExit('imported')")
    (tmp_path / "script.py").write_text(
        "from kinoflow.system.sandbox import Bounds, run_sandboxed\n"
        "print(run_sandboxed(len, 'abc', Bounds(20, 300)))"
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        cwd=tmp_path / "videos",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_a_function_finds_nothing_to_read() -> None:
    assert run_sandboxed(lambda _: sys.stdin.read(), None, BOUNDS) == ""
    assert run_sandboxed(len, "abc", BOUNDS) == 3


def test_an_exception_that_cannot_travel_is_described() -> None:
    with pytest.raises(RuntimeError, match="OddError: what went wrong"):
        run_sandboxed(raise_odd, "what went wrong", BOUNDS)


def test_processes_killed_while_idle_cost_no_answer() -> None:
    end_idle_processes()
    three = replace(BOUNDS, concurrency=3)
    for round_ in range(4):
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(partial(run_sandboxed, time.sleep, bounds=three), [0.1] * 3))
        idle = decoders()
        assert len(idle) == 3
        for child in idle:
            child.kill()
        if round_ % 2:
            time.sleep(0.1)  # now they are known to be dead, and before that they are not
        with ThreadPoolExecutor(3) as pool:
            calls = pool.map(partial(run_sandboxed, len, bounds=three), ["abc"] * 6)
            assert list(calls) == [3] * 6


def test_one_killed_while_idle_is_not_its_first_chance(tmp_path: Path) -> None:
    os.kill(run_sandboxed(lambda _: os.getpid(), None, BOUNDS), signal.SIGKILL)
    assert run_sandboxed(kill_first_time, tmp_path / "flag", BOUNDS) == "done"


def test_an_interrupted_call_leaves_no_answer_to_the_next() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            run_sandboxed(slow_pid, 1, BOUNDS)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert run_sandboxed(len, "abc", BOUNDS) == 3


def test_whoever_ends_takes_along_what_still_runs() -> None:
    code = (
        "import threading, time, psutil\n"
        "from kinoflow.system.sandbox import Bounds, run_sandboxed\n"
        "call = (time.sleep, 60, Bounds(60, 300))\n"
        "threading.Thread(target=run_sandboxed, args=call, daemon=True).start()\n"
        "time.sleep(1)\n"
        "print(*(child.pid for child in psutil.Process().children()), flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not psutil.pid_exists(int(done.stdout))


def test_threads_have_processes_of_their_own() -> None:
    seen: list[int] = []

    def call() -> None:
        seen.append(run_sandboxed(slow_pid, 0.5, replace(BOUNDS, concurrency=3)))

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 3


def test_one_bad_task_of_many_costs_only_itself(defaults: Params) -> None:
    compute = defaults.compute.model_copy(update={"timeout_s": 1, "videos_per_task": 2})
    outcomes = spread(
        fragile, range(6), compute.pool, "test", failed=lambda number, why: f"{number}: {why}"
    )
    assert sorted(outcomes) == [
        "0 is fine",
        "1 is fine",
        "2: it crashes the process that reads it (SIGSEGV)",
        "3 is fine",
        "4: it took longer than 1 s",
        "5 is fine",
    ]
