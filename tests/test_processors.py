"""Decoders and the model give way to the thread that takes requests."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kinoflow.system.sandbox import Bounds, run_sandboxed
from kinoflow.system.sandbox_process import SandboxProcess, end_idle_processes
from serving import processors


def niceness(_: object = None) -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, threads have no priority of theirs")
def test_what_computes_gives_way_and_what_takes_requests_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SandboxProcess, "niceness", 0)
    own = niceness()

    def make() -> list[int]:
        found = [niceness()]
        # as the batcher's lanes and the pools of TensorFlow
        later = threading.Thread(target=lambda: found.append(niceness()))
        later.start()
        later.join()
        return found

    assert processors.behind(make) == [own + 5, own + 5]
    assert niceness() == own
    with ThreadPoolExecutor(1) as others:
        assert others.submit(niceness).result() == own
    end_idle_processes()
    assert run_sandboxed(niceness, None, Bounds(10, 200)) == own + 5
    end_idle_processes()
