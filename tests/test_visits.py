"""What requests hold of the service, without a service: time, disk and turns."""

import asyncio
from typing import Any

import pytest

from serving import visits
from serving.visits import Refusal, Visits


async def nothing(*_: Any) -> Any:
    """An application, a receiver or a sender that does not matter."""


def made(seconds: float = 60, turns: int = 2, megabytes: float = 1) -> Visits:
    return Visits(nothing, seconds=seconds, turns=turns, megabytes=megabytes)


async def trickle(visit: visits.Visit) -> None:
    """An upload of which nearly all has come, and the rest never does."""
    async with visit.arriving():
        visit.grow(900_000)
        await asyncio.sleep(60)


def test_what_an_ended_request_held_is_there_again() -> None:
    seen: list[visits.Visit] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        visit = visits.of(scope)
        visit.take_turn()
        visit.grow(700_000)
        seen.append(visit)
        raise RuntimeError

    counted = Visits(app, seconds=60, turns=1, megabytes=1)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            asyncio.run(counted({"type": "http"}, nothing, nothing))
    assert len({id(visit) for visit in seen}) == 3
    assert (counted.free_turns, counted.free_bytes) == (1, 1_000_000)


def test_one_turn_too_many_is_refused() -> None:
    counted = made(turns=2)
    first, second, third = (visits.Visit(counted) for _ in range(3))
    first.take_turn()
    second.take_turn()
    with pytest.raises(Refusal) as refusal:
        third.take_turn()
    assert refusal.value.status == 429
    first.end()
    third.take_turn()


def test_an_upload_that_takes_long_makes_room_for_one_that_does_not() -> None:
    async def main() -> None:
        counted = made()
        slow, quick = visits.Visit(counted), visits.Visit(counted)

        trickling = asyncio.create_task(trickle(slow))
        await asyncio.sleep(0)
        async with quick.arriving():
            quick.grow(900_000)
        with pytest.raises(TimeoutError):
            await trickling
        # what is there already makes no room
        with pytest.raises(Refusal) as refusal:
            visits.Visit(counted).grow(200_000)
        assert refusal.value.status == 503
        quick.end()
        visits.Visit(counted).grow(1_000_000)

    asyncio.run(main())


def test_an_upload_whose_time_is_up_just_now_makes_room_too() -> None:
    async def main() -> None:
        counted = made(seconds=0.05)
        late = visits.Visit(counted)

        trickling = asyncio.create_task(trickle(late))
        await asyncio.sleep(0)
        # between the alarm of the timeout and the task that it ends
        (timeout,) = counted.arriving.values()
        when = timeout.when()
        assert when is not None
        quick = visits.Visit(counted)
        asyncio.get_running_loop().call_at(when, quick.grow, 900_000)
        with pytest.raises(TimeoutError):
            await trickling
        assert counted.free_bytes == 100_000

    failures: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))
        await main()

    asyncio.run(watched())
    assert failures == []
