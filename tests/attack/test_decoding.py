"""Files that attack the decoder: bombs, lists, many mutations; and kills meanwhile."""

import contextlib
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

from kinoflow.system.sandbox import (
    Bounds,
    LateError,
    OutOfBoundsError,
    default_concurrency,
    run_sandboxed,
)
from kinoflow.system.sandbox_process import end_idle_processes
from kinoflow.video import ClipSpec, UnreadableVideo, sample
from tests.attack import video_bombs as bombs
from tests.attack.video_mutations import mutated
from tests.children import decoders
from tests.media import moving_square, write_video

pytest_plugins = ["tests.attack.video_mutations"]

SPEC = ClipSpec(4, 16, 16)
BOUNDS = Bounds(seconds=10, memory_mb=256, concurrency=2)
# what a process has when it starts to decode, and what it may keep from one call to the next
IDLE_MB = 128 + BOUNDS.memory_mb // 8

Count = Callable[[int, int], int]


class Watch:
    """The most memory that the children of this process had, in MB: one of them, and all."""

    def __init__(self) -> None:
        self.one = self.all = 0.0
        self._over = threading.Event()

    def __enter__(self) -> "Watch":
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        over = False
        while not over:
            over = self._over.wait(0.02)
            sizes = children_mb()
            self.one = max(self.one, *sizes)
            self.all = max(self.all, sum(sizes))


def children_mb() -> list[float]:
    sizes = [0.0, 0.0]
    for child in decoders():
        with contextlib.suppress(psutil.NoSuchProcess):
            sizes.append(child.memory_info().rss / 2**20)
    return sizes


def outcome(path: Path, *, seconds: float | None = None) -> str:
    """In a few words; whatever else is raised is a fault of ours."""
    deadline = None if seconds is None else time.monotonic() + seconds
    try:
        clip = run_sandboxed(partial(sample, spec=SPEC), path, BOUNDS, deadline=deadline)
    except LateError as late:
        return "late while decoding" if late.begun else "late while waiting"
    except (UnreadableVideo, OutOfBoundsError) as problem:
        return re.sub(r" \(codec .*| after \d+.*", "", str(problem))
    assert clip.shape == SPEC.shape
    assert clip.dtype == np.uint8
    return "sampled"


BOMBS = {
    "a list of itself, 11 KB": bombs.playlist(1000),
    "a gif of 65535x65535": bombs.gif(65535, 65535, 1),
    "a gif of 14000x14000": bombs.gif(14000, 14000, 1, side=14000),
    "an mp4 with 4 billion sizes": bombs.table(b"stsz", 2**32 - 1),
    "an mp4 with 100 million sizes": bombs.table(b"stsz", 10**8),
    "an mp4 with 200 million times": bombs.table(b"stts", 2 * 10**8),
    "an mp4 with 200 million chunks": bombs.table(b"stco", 2 * 10**8),
}


def test_bombs_take_no_more_than_they_may(tmp_path: Path, count: Count) -> None:
    end_idle_processes()
    for number, (name, content) in enumerate(BOMBS.items()):
        path = tmp_path / str(number) / "video"
        path.parent.mkdir()
        path.write_bytes(content)
        calls = count(4, 100)
        begun = time.monotonic()
        with Watch() as watch, ThreadPoolExecutor(4) as pool:
            outcomes = Counter(pool.map(outcome, [path] * calls))
        print(
            f"{name}: {calls} times in {time.monotonic() - begun:.1f} s, "
            f"at most {watch.all:.0f} MB: {dict(outcomes)}"
        )
        assert watch.all < BOUNDS.concurrency * (IDLE_MB + BOUNDS.memory_mb)
        assert "sampled" not in outcomes
        # and nothing of it stays
        assert sum(children_mb()) < BOUNDS.concurrency * IDLE_MB


def test_what_would_burn_a_minute_ends_with_the_deadline(tmp_path: Path, count: Count) -> None:
    path = tmp_path / "video"
    path.write_bytes(bombs.burning_gif())
    assert run_sandboxed(len, "abc", BOUNDS) == 3
    for _ in range(count(1, 20)):
        begun = time.monotonic()
        with ThreadPoolExecutor(12) as pool:
            calls = pool.map(partial(outcome, seconds=1), [path] * 12)
            running = 0
            while time.monotonic() < begun + 0.9:
                running = max(running, len(decoders()))
                time.sleep(0.05)
            outcomes = Counter(calls)
        wall = time.monotonic() - begun
        print(f"{path.stat().st_size / 1000:.0f} KB, 12 at once: {wall:.2f} s, {dict(outcomes)}")
        assert set(outcomes) <= {"late while decoding", "late while waiting"}
        assert running <= BOUNDS.concurrency
        assert wall < 5
        assert not any(child.cpu_percent(0.1) > 5 for child in decoders())


def test_mutated_videos_are_sampled_or_set_aside(
    originals: list[bytes], tmp_path: Path, count: Count
) -> None:
    end_idle_processes()
    rounds = count(60, 6000)
    slowest = 0.0

    def attack(number: int) -> str:
        nonlocal slowest
        chance = random.Random(number)
        content, other = originals[number % len(originals)], chance.choice(originals)
        path = tmp_path / f"{number}"
        path.write_bytes(mutated(content, other, chance))
        begun = time.monotonic()
        try:
            return outcome(path)
        except Exception as error:
            error.add_note(f"mutation {number} of {len(originals)} originals")
            raise
        finally:
            slowest = max(slowest, time.monotonic() - begun)
            path.unlink()

    with Watch() as watch, ThreadPoolExecutor(2) as pool:
        outcomes = Counter(pool.map(attack, range(rounds)))
    print(
        f"{rounds} mutations of {len(originals)} videos: slowest {slowest:.1f} s, a process had at "
        f"most {watch.one:.0f} MB, all together {watch.all:.0f} MB"
    )
    for text, times in outcomes.most_common():
        print(f"{times:6}  {text}")
    assert outcomes.total() == rounds
    # an attack that no decoder lets in, or none refuses, would attack little
    assert outcomes["sampled"] > rounds / 4
    assert len(outcomes) > 1
    assert watch.one < IDLE_MB + BOUNDS.memory_mb
    assert not any(text.startswith("it crashes") for text in outcomes), outcomes


def test_kills_cost_no_answer(tmp_path: Path, count: Count) -> None:
    video = write_video(tmp_path / "a.avi", moving_square(20))
    right = sample(video, SPEC)
    wanted, kills = count(6, 500), 0
    answers, over = [0, 0, 0], threading.Event()

    def ask(number: int) -> None:
        while not over.is_set():
            clip = run_sandboxed(partial(sample, spec=SPEC), video, BOUNDS)
            np.testing.assert_array_equal(clip, right)
            answers[number] += 1
            time.sleep(0.01)  # so that some are killed while idle

    chance = random.Random(0)
    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask, number) for number in range(3)]
        last = list(answers)
        while kills < wanted and not any(one.done() for one in asking):
            time.sleep(0.01 * chance.random())
            # a call has a second chance and no third: whichever was hit is to end first
            if min(now - then for now, then in zip(answers, last, strict=True)) >= 2:
                last = list(answers)
                if children := decoders():
                    chance.choice(children).kill()
                    kills += 1
        over.set()
        for one in asking:
            one.result()
    print(f"{kills} kills, {sum(answers)} answers, all of them right")
    assert kills == wanted


def test_the_default_bounds_fit_this_machine() -> None:
    total = psutil.virtual_memory().total
    for memory_mb in (64, 2048, 100_000):
        calls = default_concurrency(memory_mb)
        assert calls == 1 or calls * memory_mb * 2**20 < total
