"""Admission control without a service: deadlines, slots and the upload budget."""

import asyncio
from typing import Any

import pytest

from serving import admission
from serving.admission import Admission, AdmissionControl
from serving.refusals import Refusal


async def nothing(*_: Any) -> Any:
    """An application, a receiver or a sender that does not matter."""


def control(seconds: float = 60, slots: int = 1, max_upload_mb: float = 1) -> AdmissionControl:
    return AdmissionControl(
        nothing,
        seconds=seconds,
        slots=slots,
        max_upload_mb=max_upload_mb,
        uploads_mb=slots * max_upload_mb,
    )


async def stall(slow: Admission) -> None:
    """An upload of which nearly all has come, and the rest never does."""
    async with slow.uploading():
        slow.reserve(900_000)
        await asyncio.sleep(60)


def test_what_an_ended_request_held_is_free_again() -> None:
    admitted: list[Admission] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        admitted.append(admission.of(scope))
        admitted[-1].take_slot()
        admitted[-1].reserve(700_000)
        raise RuntimeError

    controlled = AdmissionControl(app, seconds=60, slots=1, max_upload_mb=1, uploads_mb=1)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            asyncio.run(controlled({"type": "http"}, nothing, nothing))
    assert len({id(one) for one in admitted}) == 3
    assert (controlled.free_slots, controlled.free_bytes) == (1, 1_000_000)


def test_one_request_more_than_there_are_slots_is_refused() -> None:
    controlled = control(slots=2)
    first, second, third = (Admission(controlled) for _ in range(3))
    first.take_slot()
    second.take_slot()
    with pytest.raises(Refusal) as refusal:
        third.take_slot()
    assert refusal.value.status == 429
    first.release()
    third.take_slot()


def test_an_upload_larger_than_one_may_be_is_refused() -> None:
    admitted = Admission(control(slots=4, max_upload_mb=0.5))
    admitted.check_size(500_000)
    with pytest.raises(Refusal, match=r"larger than 0\.5 MB") as refusal:
        admitted.check_size(500_001)
    assert refusal.value.status == 413


def test_an_upload_that_takes_long_makes_room_for_one_that_does_not() -> None:
    async def main() -> None:
        controlled = control()
        slow, quick = Admission(controlled), Admission(controlled)

        stalled = asyncio.create_task(stall(slow))
        await asyncio.sleep(0)
        async with quick.uploading():
            quick.reserve(900_000)
        with pytest.raises(TimeoutError):
            await stalled
        # a complete upload makes no room
        with pytest.raises(Refusal) as refusal:
            Admission(controlled).reserve(200_000)
        assert refusal.value.status == 503
        quick.release()
        Admission(controlled).reserve(1_000_000)

    asyncio.run(main())


def test_an_upload_whose_time_is_up_just_now_makes_room_too() -> None:
    async def main() -> None:
        controlled = control(seconds=0.05)
        late = Admission(controlled)

        stalled = asyncio.create_task(stall(late))
        await asyncio.sleep(0)
        # between the alarm of the timeout and the task that it ends
        (timeout,) = controlled.uploading.values()
        when = timeout.when()
        assert when is not None
        quick = Admission(controlled)
        asyncio.get_running_loop().call_at(when, quick.reserve, 900_000)
        with pytest.raises(TimeoutError):
            await stalled
        assert controlled.free_bytes == 100_000

    failures: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))
        await main()

    asyncio.run(watched())
    assert failures == []
