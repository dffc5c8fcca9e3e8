import threading

import pytest

from kinoflow.training.read_ahead import ReadAhead


def test_items_are_read_before_they_are_asked_for() -> None:
    begun = [threading.Event() for _ in range(6)]

    def read(number: int) -> str:
        begun[number].set()
        return f"item {number}"

    items = ReadAhead(read, 6, ahead=2)
    assert items[0] == "item 0"
    assert begun[1].wait(30)
    assert begun[2].wait(30)
    assert not begun[3].is_set()  # nothing is held that is not wanted soon
    assert [items[number] for number in range(1, 6)] == [f"item {n}" for n in range(1, 6)]


def test_items_come_in_the_order_in_which_they_are_asked_for() -> None:
    second_read = threading.Event()

    def read(number: int) -> int:
        if number == 0:
            assert second_read.wait(30)
        if number == 1:
            second_read.set()
        return number

    items = ReadAhead(read, 20, threads=2)
    assert [items[number] for number in range(20)] == [*range(20)]
    assert [items[number] for number in (7, 3, 3, 19, 0)] == [7, 3, 3, 19, 0]


def test_what_was_read_ahead_is_dropped_when_reading_gives_something_else() -> None:
    epoch = [0]
    ready = threading.Event()

    def read(number: int) -> tuple[int, int]:
        item = epoch[0], number
        if number == 2:
            ready.set()
        return item

    items = ReadAhead(read, 3, ahead=2)
    assert items[0] == (0, 0)
    assert ready.wait(30)
    epoch[0] = 1
    items.forget()
    assert [items[number] for number in range(3)] == [(1, 0), (1, 1), (1, 2)]


def test_a_failure_is_raised_to_who_asks_for_the_item() -> None:
    def read(number: int) -> int:
        if number == 1:
            raise FileNotFoundError("clip 1")
        return number

    items = ReadAhead(read, 3)
    assert items[0] == 0
    with pytest.raises(FileNotFoundError, match="clip 1"):
        items[1]
    assert items[2] == 2
