"""The batcher: what waits together is answered together, and each clip gets its own answer."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from kinoflow.bundle import Probabilities
from kinoflow.video.spec import Frames
from serving.batching import Batcher, NeverFreeError, OverfullError, best_views

BROKEN = 255  # a view of this brightness makes the call fail that it is in


class Model:
    """A model that answers with a view's brightness; it can be held, and counts its calls."""

    def __init__(self) -> None:
        self.calls: list[int] = []  # how many views each call had
        self.free = threading.Event()
        self.free.set()

    def __call__(self, views: Frames) -> Probabilities:
        self.calls.append(len(views))
        assert self.free.wait(10)
        brightness = views.mean(axis=(1, 2, 3, 4))
        if (brightness == BROKEN).any():
            raise ValueError("a view is broken")
        return np.stack([brightness, -brightness], axis=1).astype(np.float32)


def clip(brightness: int, views: int = 3) -> Frames:
    return np.full((views, 2, 4, 4, 3), brightness, np.uint8)


def batcher(model: Model, **options: int) -> Batcher:
    wanted = {"lanes": 1, "most_views": 64, "most_waiting": 64, **options}
    return Batcher(model, **wanted)  # type: ignore[arg-type]


class Asked(threading.Thread):
    """Asks for the answer to a clip in a thread of its own."""

    def __init__(self, ask: Callable[[Frames], tuple[Probabilities, float, float]], views: Frames):
        super().__init__(daemon=True)
        self._ask, self._views = ask, views
        self.answer: Probabilities | None = None
        self.failure: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.answer, _, _ = self._ask(self._views)
        except Exception as failure:  # noqa: BLE001
            self.failure = failure

    def ended(self) -> "Asked":
        self.join(10)
        assert not self.is_alive()
        return self


def together(model: Model, ask: Batcher, brightness: list[int]) -> list[Asked]:
    """Clips that come while the model is busy with another, in this order."""
    model.free.clear()
    asked = [Asked(ask, clip(7))]
    until = time.monotonic() + 10
    while not model.calls and time.monotonic() < until:
        time.sleep(0.001)
    for number, value in enumerate(brightness, 1):
        asked.append(Asked(ask, clip(value)))
        while ask.waiting < 3 * number and time.monotonic() < until:
            time.sleep(0.001)
    model.free.set()
    return [one.ended() for one in asked[1:]]


def test_what_waits_is_answered_in_one_call_and_each_clip_gets_its_own_answer() -> None:
    model = Model()
    asked = together(model, batcher(model), [10, 20, 30])
    assert model.calls == [3, 9]
    for one, brightness in zip(asked, (10, 20, 30), strict=True):
        assert one.answer is not None
        np.testing.assert_array_equal(one.answer, [[brightness, -brightness]] * 3)


def test_a_call_takes_no_more_than_it_may_even_of_one_clip() -> None:
    model = Model()
    asked = together(model, batcher(model, most_views=2), [10, 20])
    assert max(model.calls) == 2
    assert [one.answer is not None and one.answer[2, 0] for one in asked] == [10, 20]


def test_an_error_stays_with_its_own_clip() -> None:
    model = Model()
    asked = together(model, batcher(model), [10, BROKEN, 30])
    assert [one.answer is None for one in asked] == [False, True, False]
    assert isinstance(asked[1].failure, ValueError)
    # and the next clips are answered as before
    answer, _, _ = batcher(model)(clip(40))
    assert answer[0, 0] == 40


def test_the_views_of_a_lone_clip_are_shared_among_the_lanes() -> None:
    model = Model()
    answer, _, _ = batcher(model, lanes=3)(clip(50))
    assert len(model.calls) > 1
    assert sum(model.calls) == 3
    assert (answer[:, 0] == 50).all()


def test_views_of_a_clip_stay_together_if_fewer_would_take_as_long() -> None:
    model = Model()
    ask = batcher(model, lanes=3, least_views=3, most_views=3)
    answer, _, _ = ask(clip(50))
    assert model.calls == [3]
    assert (answer[:, 0] == 50).all()
    # a clip of which most is padding has a view alone
    answer, _, _ = ask(clip(60, views=1))
    assert model.calls == [3, 1]
    assert (answer[:, 0] == 60).all()


def test_no_clip_waits_past_its_deadline_and_no_more_wait_than_may() -> None:
    model = Model()
    ask = batcher(model, most_waiting=2)
    model.free.clear()
    first, until = Asked(ask, clip(1)), time.monotonic() + 10
    while not model.calls and time.monotonic() < until:
        time.sleep(0.001)
    with pytest.raises(NeverFreeError):
        ask(clip(2), time.monotonic() + 0.02)
    second = Asked(ask, clip(3))
    while ask.waiting < 3 and time.monotonic() < until:
        time.sleep(0.001)
    with pytest.raises(OverfullError):
        ask(clip(4))
    model.free.set()
    assert first.ended().answer is not None
    assert second.ended().answer is not None
    # the clip whose time was up was never given to the model
    assert model.calls == [3, 3]


def test_a_call_waits_a_moment_for_clips_that_are_on_their_way() -> None:
    model = Model()
    ask = Batcher(
        model, lanes=1, most_views=6, most_waiting=9, wait_s=10, expected=lambda: not model.calls
    )
    begun = time.monotonic()
    first = Asked(ask, clip(1))
    time.sleep(0.05)
    second = Asked(ask, clip(2))
    assert first.ended().answer is not None
    assert second.ended().answer is not None
    assert model.calls == [6]
    # it was full, so it did not wait to the end
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(("each", "whole", "best"), [(0.004, 0.0, 1), (0.0, 0.004, 4)])
def test_a_call_takes_as_many_views_as_are_answered_quickest(
    each: float, whole: float, best: int
) -> None:
    def forward(views: Frames) -> Probabilities:
        # 20 % more for each view as calls grow, as where caches are too small
        time.sleep(whole + each * len(views) * (1 + 0.2 * len(views)))
        return np.zeros((len(views), 2), np.float32)

    assert best_views(forward, clip(0, views=1), 4) == best
