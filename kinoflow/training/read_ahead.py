"""Read items before they are asked for, in threads."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ReadAhead(Generic[Item]):
    """Numbered items, which threads read in order, a few ahead of the one that is asked for.

    Args:
        read: gives the item of a number. Threads call it side by side.
        count: how many items there are.
        ahead: how many items are read ahead, and so held in memory, at most.
        threads: how many items are read side by side, at most.
    """

    def __init__(
        self, read: Callable[[int], Item], count: int, *, ahead: int = 4, threads: int = 2
    ) -> None:
        self._read = read
        self._count = count
        self._ahead = ahead
        self._threads = ThreadPoolExecutor(threads)
        self._begun: dict[int, Future[Item]] = {}

    def __getitem__(self, number: int) -> Item:
        """The item of a number; raises what reading it raised."""
        wanted = range(number, min(number + self._ahead + 1, self._count))
        for past in self._begun.keys() - set(wanted):
            self._begun.pop(past).cancel()
        for each in wanted:
            if each not in self._begun:
                self._begun[each] = self._threads.submit(self._read, each)
        return self._begun.pop(number).result()

    def forget(self) -> None:
        """Drop what was read ahead, because reading would now give something else."""
        for begun in self._begun.values():
            begun.cancel()
        self._begun.clear()
